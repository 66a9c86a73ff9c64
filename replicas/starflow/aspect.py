"""The shapes that a flow draws: nine aspect ratios of about the same area, as the released sampler offers them.

A model that was trained with several aspect ratios (`mix_aspect`) was told each in its prompt. One trained without has
seen squares only: it draws the other shapes by extrapolation, and the released sampler draws only squares with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from replicas.errors import SizeNotPossible

ASPECTS = ("1:1", "2:3", "3:2", "16:9", "9:16", "4:5", "5:4", "21:9", "9:21")  # width to height
SQUARE = ASPECTS[0]


def size_of(aspect: str, image_px: int, multiple_px: int) -> tuple[int, int]:
    """(height, width) in pixels: the area of `image_px` squared, each side rounded to a multiple of `multiple_px`."""
    width, height = (int(part) for part in aspect.split(":"))
    ratio = width / height
    return tuple(
        round(side / multiple_px) * multiple_px
        for side in (math.sqrt(image_px**2 / ratio), math.sqrt(image_px**2 * ratio))
    )  # type: ignore[return-value]


def sizes(image_px: int, multiple_px: int, *, any_aspect: bool) -> Mapping[str, tuple[int, int]]:
    """Aspect -> (height, width) of all that a model trained at `image_px` draws, the square first.

    `multiple_px` is the autoencoder's factor times the flow's patch size. `any_aspect` False is a model that draws
    squares only: its positions are learned for one grid. Small models round several aspects to one size; the first
    keeps it.
    """
    if image_px < 1 or multiple_px < 1 or image_px % multiple_px:
        raise SizeNotPossible(
            f"image size {image_px} px is no multiple of {multiple_px} px, which is the autoencoder's factor times the "
            "patch size; the configuration and the autoencoder do not belong together"
        )
    found: dict[str, tuple[int, int]] = {}
    for aspect in ASPECTS if any_aspect else (SQUARE,):
        size_px = size_of(aspect, image_px, multiple_px)
        if size_px not in found.values():
            found[aspect] = size_px
    return found


def with_aspect(prompt: str, aspect: str) -> str:
    """The prompt as flows that were trained on several aspect ratios read it, the empty one too."""
    return f"{prompt}\n in a {aspect} aspect ratio.\n"


def aspect_of(height_px: int, width_px: int, allowed: Mapping[str, tuple[int, int]]) -> str:
    """The aspect whose size this is. Raises SizeNotPossible, whose message lists what `allowed` holds."""
    for aspect, size_px in allowed.items():
        if size_px == (height_px, width_px):
            return aspect
    listed = ", ".join(f"{height} x {width} ({aspect})" for aspect, (height, width) in allowed.items())
    raise SizeNotPossible(
        f"height {height_px} px and width {width_px} px: this flow draws, as height x width (width:height), {listed}"
    )
