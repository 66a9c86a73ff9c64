"""Captions that are wrong about a scene by one thing: what a scorer has to tell apart."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .prompts import Asked, Scene, caption
from .vocabulary import BACKGROUNDS, COUNT_WORDS, OBJECTS, RELATIONS

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def _other(rng: Random, upper: int, *taken: int, lowest: int = 0) -> int:
    return rng.choice([i for i in range(lowest, upper) if i not in taken])


def wrong_object(rng: Random, asked: Asked) -> Asked:
    """Another object in the place of one (of all, in a count)."""
    new = _other(rng, len(OBJECTS), *asked.indices)
    if asked.kind == "count":
        return replace(asked, indices=(new,) * len(asked.indices))
    at = rng.randrange(len(asked.indices))
    return replace(asked, indices=tuple(new if i == at else index for i, index in enumerate(asked.indices)))


def wrong_attribute(rng: Random, asked: Asked) -> Asked:
    """The one thing beside its objects that a caption says: colour, number, relation; else an object."""
    if asked.kind == "background":
        return replace(asked, background=_other(rng, len(BACKGROUNDS), asked.background, lowest=1))
    if asked.kind == "count":
        number = rng.choice([n for n in COUNT_WORDS if n != len(asked.indices)])
        return replace(asked, indices=asked.indices[:1] * number)
    if asked.relation is not None:
        chance = rng.random()
        if chance < 0.4:
            return replace(asked, relation=OPPOSITE[asked.relation])
        if chance < 0.8:
            return replace(asked, indices=asked.indices[::-1])
        return replace(asked, relation=rng.choice([r for r in RELATIONS if r != asked.relation]))
    return wrong_object(rng, asked)


def negative(rng: Random, scene: Scene, attribute: bool) -> tuple[Asked, str]:
    """A wrong caption of a scene, and what it asks for. `attribute` False: an object is wrong."""
    asked = Asked(scene.kind, tuple(p.index for p in scene.objects), scene.background, scene.relation)
    wrong = (wrong_attribute if attribute else wrong_object)(rng, asked)
    return wrong, caption(rng, wrong)
