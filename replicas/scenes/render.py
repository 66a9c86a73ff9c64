"""Scenes to pixels: sprites composited over a plain background with numpy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from .prompts import CANVAS_PX, LARGE_PX, Scene
from .vocabulary import BACKGROUNDS

SPRITES = Path(__file__).with_name("sprites.safetensors")


@cache
def _sprites() -> dict[int, np.ndarray]:
    """Size in px -> [objects, size, size, 4] float32, RGB premultiplied by alpha, all in [0, 1]."""
    out = {}
    for name, sprites in load_file(SPRITES).items():
        rgba = sprites.astype(np.float32) / 255
        rgba[..., :3] *= rgba[..., 3:]
        out[int(name.removeprefix("px"))] = rgba
    return out


def render(scene: Scene) -> np.ndarray:
    """One scene as [64, 64, 3] uint8."""
    picture = np.empty((CANVAS_PX, CANVAS_PX, 3), np.float32)
    picture[:] = np.asarray(BACKGROUNDS[scene.background][1], np.float32) / 255
    for placed in scene.objects:
        sprite = _sprites()[placed.size_px][placed.index]
        window = picture[placed.y_px : placed.y_px + placed.size_px, placed.x_px : placed.x_px + placed.size_px]
        window *= 1 - sprite[..., 3:]
        window += sprite[..., :3]
    return np.rint(picture * 255).astype(np.uint8)


def render_many(scenes: Sequence[Scene]) -> np.ndarray:
    """Scenes as [B, 64, 64, 3] uint8."""
    return np.stack([render(scene) for scene in scenes])


def object_map(scene: Scene) -> np.ndarray:
    """[8, 8] int64: object index + 1 in the 8-px cell that holds an object's centre, 0 elsewhere."""
    cells = np.zeros((CANVAS_PX // 8, CANVAS_PX // 8), np.int64)
    for placed in scene.objects:
        middle = placed.size_px // 2 - (4 if placed.size_px == LARGE_PX else 0)
        cells[(placed.y_px + middle) // 8, (placed.x_px + middle) // 8] = placed.index + 1
    return cells
