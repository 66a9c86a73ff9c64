"""The independent check of the demo's pictures: a detector that knows nothing of scorer, tiers or router reads them.

The router learns from the scorer, which is a proxy; this says whether a picture shows exactly what was asked for. It
imports torch, so only after all requests were measured, and only here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from replicas.errors import ReplicaError
from replicas.scenes.prompts import CANVAS_PX

from .demo_prompts import Prompt
from .demo_rows import Row

_BATCH = 50


def checked(
    rows: Sequence[Row], prompts: Sequence[Prompt], images: Mapping[str, bytes]
) -> tuple[list[Row], str | None]:
    """Rows with `right` filled in where it can be told; and why not, where no row could be checked."""
    try:
        import torch

        from replicas import embedded
        from replicas.detector import Detector, matches

        torch.set_num_threads(1)
        detector = embedded.load_module(Detector, embedded.WEIGHTS / "detector.safetensors")
    except (ImportError, ReplicaError) as error:
        return list(rows), str(error)
    scenes = {prompt.number: prompt.scene for prompt in prompts}
    pixels = {row.decision_id: decoded(images.get(row.decision_id)) for row in rows}
    readable = [row for row in rows if pixels[row.decision_id] is not None]
    right: dict[str, bool] = {}
    for begin in range(0, len(readable), _BATCH):
        part = readable[begin : begin + _BATCH]
        seen = detector.read(np.stack([pixels[row.decision_id] for row in part]))  # type: ignore[misc]
        right |= {row.decision_id: matches(scenes[row.number], found) for row, found in zip(part, seen, strict=True)}
    reason = f"it reads pictures of {CANVAS_PX}x{CANVAS_PX} px only" if rows and not readable else None
    return [replace(row, right=right.get(row.decision_id)) for row in rows], reason


def decoded(png: bytes | None) -> np.ndarray | None:
    """[64, 64, 3] uint8; None where there is no such picture."""
    if png is None:
        return None
    try:
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    except (UnidentifiedImageError, OSError):
        return None
    return pixels if pixels.shape == (CANVAS_PX, CANVAS_PX, 3) else None
