"""Patches go there and back."""

import numpy as np
import torch

from replicas.patches import from_patches, to_patches, to_uint8, to_unit_range


def test_patches_round_trip_and_order():
    pixels = torch.arange(64 * 64 * 3.0).reshape(1, 64, 64, 3)
    patches = to_patches(pixels)
    assert torch.equal(from_patches(patches), pixels)
    assert torch.equal(patches[0, 9].reshape(8, 8, 3), pixels[0, 8:16, 8:16])


def test_uint8_round_trip_and_clipping():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert (to_uint8(to_unit_range(images)) == images).all()
    assert to_uint8(torch.tensor([[[[-9.0, 9.0, 0.0]]]])).ravel().tolist() == [0, 255, 128]
