"""Pixels in, files out: resize, encode, and the small copy that the scorer sees. No model, no HTTP."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

FORMATS = ("png", "webp", "jpeg")
SCORED_SIDE_PX = 256  # scorers look at 64 to 224 px; a longer side would only be carried about


def encode_base64(pixels: np.ndarray, size_px: tuple[int, int], file_format: str, compression: int | None) -> bytes:
    """[H, W, 3] uint8 -> the file as base64 ASCII, resized (Lanczos) to `size_px` = (height, width).

    `compression` is OpenAI's output_compression: the quality of WEBP and JPEG in percent, None for the format's own.
    """
    height_px, width_px = size_px
    picture = Image.fromarray(pixels)
    if picture.size != (width_px, height_px):
        picture = picture.resize((width_px, height_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if file_format == "png":
        picture.save(file, "PNG", compress_level=4)  # level 6 costs twice the time for 2 % fewer bytes
    elif file_format == "webp":
        picture.save(file, "WEBP", quality=85 if compression is None else compression)
    elif file_format == "jpeg":
        picture.save(file, "JPEG", quality=90 if compression is None else max(1, compression))
    else:
        raise ValueError(f"file format {file_format!r} is not one of {', '.join(FORMATS)}")
    return base64.b64encode(file.getbuffer())


def for_scorer(pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8, its longer side at most SCORED_SIDE_PX."""
    height_px, width_px = pixels.shape[:2]
    shrink = SCORED_SIDE_PX / max(height_px, width_px)
    if shrink >= 1:
        return pixels
    small = Image.fromarray(pixels).resize(
        (max(1, round(width_px * shrink)), max(1, round(height_px * shrink))), Image.Resampling.LANCZOS
    )
    return np.asarray(small)
