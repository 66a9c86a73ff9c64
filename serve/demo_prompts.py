"""The prompts of the demo: captions of mixed difficulty whose combinations no tier and no scorer was trained on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from replicas.scenes.prompts import KINDS, Scene, sample_scene

_TRIES = 200  # of a kind with few captions (60 to 80 are held out), until one is found that was not used
_SEED_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to ask for. The same seed goes to every arm."""

    number: int
    scene: Scene
    seed: int


def draw_prompts(count: int, measured: int, seed: int) -> tuple[Prompt, ...]:
    """`count` prompts, every kind equally often, the order of kinds at random.

    The last `measured` are distinct, and no prompt before them has the caption of one of them, as far as the held-out
    captions last: what the router did with these prompts it cannot have learned from these very words.
    """
    rng = Random(seed)
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += rng.sample(KINDS, len(KINDS))
    measured_captions: set[str] = set()
    used: set[str] = set()
    scenes: list[Scene] = []
    for number in reversed(range(count)):
        scene = _unused(rng, kinds[number], used, measured_captions)
        used.add(scene.caption)
        if number >= count - measured:
            measured_captions.add(scene.caption)
        scenes.append(scene)
    return tuple(Prompt(number, scene, rng.randrange(_SEED_LIMIT)) for number, scene in enumerate(reversed(scenes)))


def _unused(rng: Random, kind: str, used: Collection[str], forbidden: Collection[str]) -> Scene:
    """A scene whose caption is not used; failing that, one that is not forbidden; failing that, any."""
    allowed: Scene | None = None
    for _ in range(_TRIES):
        scene = sample_scene(rng, kind, held_out=True)
        if scene.caption not in used:
            return scene
        if allowed is None and scene.caption not in forbidden:
            allowed = scene
    return allowed or sample_scene(rng, kind, held_out=True)
