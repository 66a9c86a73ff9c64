"""Captions and the layouts they ask for. Combinations held out by hash are never drawn for training.

Five kinds of prompt: single, background, count (2 to 4), two (objects), relation (left, right, above, below).
Objects snap to the 8-pixel grid of the latents: one object is 40 px wide, several are 24 px wide, one a quadrant.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from .vocabulary import (
    BACKGROUND_TEMPLATES,
    BACKGROUNDS,
    COUNT_TEMPLATES,
    COUNT_WORDS,
    OBJECTS,
    RELATION_TEMPLATES,
    RELATIONS,
    SINGLE_TEMPLATES,
    TWO_TEMPLATES,
)

KINDS = ("single", "background", "count", "two", "relation")
CANVAS_PX = 64
LARGE_PX = 40
SMALL_PX = 24
HELD_OUT_SHARE = 8  # one combination in eight


@dataclass(frozen=True, slots=True)
class Placed:
    """One object with its top left corner."""

    index: int  # into vocabulary.OBJECTS
    x_px: int
    y_px: int
    size_px: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A caption and one picture that it describes. `relation` holds from objects[0] to objects[1]."""

    kind: str
    caption: str
    background: int  # into vocabulary.BACKGROUNDS
    objects: tuple[Placed, ...]
    relation: str | None = None


def _held_out(*combination: object) -> bool:
    digest = hashlib.sha256(repr(combination).encode()).digest()
    return digest[0] % HELD_OUT_SHARE == 0


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _word(rng: Random, index: int) -> str:
    thing = OBJECTS[index]
    return rng.choice(thing.synonyms) if thing.synonyms and rng.random() < 0.2 else thing.word


def _quadrants(rng: Random, cells: list[tuple[int, int]], indices: list[int]) -> tuple[Placed, ...]:
    """One object a quadrant cell (column, row), all shifted alike by 0 or 8 px in x and y."""
    dx, dy = 8 * rng.randrange(2), 8 * rng.randrange(2)
    return tuple(
        Placed(index, 32 * column + dx, 32 * row + dy, SMALL_PX)
        for index, (column, row) in zip(indices, cells, strict=True)
    )


_CELLS = [(0, 0), (1, 0), (0, 1), (1, 1)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caption asks for, without a layout."""

    kind: str
    indices: tuple[int, ...]  # one an object; a count repeats its index
    background: int = 0
    relation: str | None = None

    def held_out(self, caption: str) -> bool:
        """Whether this combination (for single objects: this wording) is kept from training."""
        if self.kind == "single":
            return _held_out("single", caption)
        if self.kind == "background":
            return _held_out("background", *self.indices, self.background)
        if self.kind == "count":
            return _held_out("count", self.indices[0], len(self.indices))
        return _held_out("pair", *sorted(self.indices))


def caption(rng: Random, asked: Asked) -> str:
    """One wording of what is asked."""
    if asked.kind == "count":
        number = rng.choice(COUNT_WORDS[len(asked.indices)])
        return rng.choice(COUNT_TEMPLATES).format(n=number, os=OBJECTS[asked.indices[0]].plural)
    first = _word(rng, asked.indices[0])
    if asked.kind == "single":
        return rng.choice(SINGLE_TEMPLATES).format(a=_article(first), o=first)
    if asked.kind == "background":
        name = BACKGROUNDS[asked.background][0]
        return rng.choice(BACKGROUND_TEMPLATES).format(a=_article(first), o=first, b=_article(name), c=name)
    second = _word(rng, asked.indices[1])
    words = {"a": _article(first), "o": first, "b": _article(second), "p": second}
    if asked.relation is None:
        return rng.choice(TWO_TEMPLATES).format(**words)
    return rng.choice(RELATION_TEMPLATES).format(r=rng.choice(RELATIONS[asked.relation]), **words)


def ask(rng: Random, kind: str) -> Asked:
    """Something of `kind` to ask for."""
    indices = tuple(rng.sample(range(len(OBJECTS)), 2))
    if kind == "single":
        return Asked(kind, indices[:1])
    if kind == "background":
        return Asked(kind, indices[:1], background=rng.randrange(1, len(BACKGROUNDS)))
    if kind == "count":
        return Asked(kind, indices[:1] * rng.choice(tuple(COUNT_WORDS)))
    if kind == "two":
        return Asked(kind, indices)
    return Asked(kind, indices, relation=rng.choice(tuple(RELATIONS)))


def lay_out(rng: Random, asked: Asked) -> tuple[Placed, ...]:
    """One layout that fulfils what is asked."""
    if len(asked.indices) == 1:
        return (Placed(asked.indices[0], 8 + 8 * rng.randrange(2), 8 + 8 * rng.randrange(2), LARGE_PX),)
    if asked.relation is None:
        return _quadrants(rng, rng.sample(_CELLS, len(asked.indices)), list(asked.indices))
    lane = rng.randrange(2)
    cells = {
        "left": [(0, lane), (1, lane)],
        "right": [(1, lane), (0, lane)],
        "above": [(lane, 0), (lane, 1)],
        "below": [(lane, 1), (lane, 0)],
    }[asked.relation]
    return _quadrants(rng, cells, list(asked.indices))


def sample_scene(rng: Random, kind: str | None = None, held_out: bool = False) -> Scene:
    """A scene of `kind` (None: any, composed kinds more often), from the held-out or the training part."""
    kind = kind or rng.choices(KINDS, weights=(1, 1, 2, 2, 4))[0]
    while True:
        asked = ask(rng, kind)
        words = caption(rng, asked)
        if asked.held_out(words) == held_out:
            return Scene(kind, words, asked.background, lay_out(rng, asked), asked.relation)
