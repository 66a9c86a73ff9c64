"""Pixels to 8-px patches and back; the grid on which every small model works."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PATCH_PX = 8
GRID = 8  # patches a side of a 64-px picture
TOKENS = GRID * GRID


def to_patches(pixels: Tensor) -> Tensor:
    """[B, 64, 64, 3] in [-1, 1] -> [B, 64, 192], rows first."""
    b = pixels.shape[0]
    grid = pixels.reshape(b, GRID, PATCH_PX, GRID, PATCH_PX, 3)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(b, TOKENS, PATCH_PX * PATCH_PX * 3)


def from_patches(patches: Tensor) -> Tensor:
    """[B, 64, 192] -> [B, 64, 64, 3], the inverse of `to_patches`."""
    b = patches.shape[0]
    grid = patches.reshape(b, GRID, GRID, PATCH_PX, PATCH_PX, 3)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(b, GRID * PATCH_PX, GRID * PATCH_PX, 3)


def to_unit_range(images: np.ndarray) -> Tensor:
    """[B, H, W, 3] uint8 -> float32 in [-1, 1]."""
    return torch.from_numpy(images).float() / 127.5 - 1


def to_uint8(pixels: Tensor) -> np.ndarray:
    """[B, H, W, 3] about [-1, 1] -> uint8, clipped."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
