from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from serve.pictures import FORMATS, encode_base64, for_scorer

PIXELS = np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8)


def opened(file_base64: bytes) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(file_base64, validate=True)))


def test_encode_base64_png_keeps_every_pixel() -> None:
    assert np.array_equal(np.asarray(opened(encode_base64(PIXELS, (64, 48), "png", None))), PIXELS)


@pytest.mark.parametrize("file_format", FORMATS)
def test_encode_base64_resizes_and_names_its_format(file_format: str) -> None:
    picture = opened(encode_base64(PIXELS, (100, 200), file_format, None))
    assert (picture.format, picture.size, picture.mode) == (file_format.upper(), (200, 100), "RGB")


@pytest.mark.parametrize("file_format", ["webp", "jpeg"])
def test_encode_base64_with_less_quality_is_smaller(file_format: str) -> None:
    low, high = (encode_base64(PIXELS, (64, 48), file_format, percent) for percent in (0, 100))
    assert len(low) < len(high)


def test_encode_base64_refuses_unknown_format() -> None:
    with pytest.raises(ValueError, match="gif"):
        encode_base64(PIXELS, (64, 48), "gif", None)


def test_for_scorer_leaves_small_images_alone_and_shrinks_large_ones() -> None:
    assert for_scorer(PIXELS) is PIXELS
    small = for_scorer(np.zeros((1024, 512, 3), dtype=np.uint8))
    assert (small.shape, small.dtype) == ((256, 128, 3), np.uint8)
