"""Rotary positions of grid and text (Su et al. 2021, arXiv 2104.09864), as STARFlow lays them out.

Three axes share a head's D/2 frequencies: row, column and, in a flow that reads text, place in the text. Rows and
columns are normalised so that every grid has the area of the trained one, whatever its aspect; a place in the text is
normalised by the text's length. Positions follow the order in which a block reads, not the place in the picture: a
block that reads backwards meets the same rotations first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .config import TEXT_ROTARY, FlowConfig

_BASE = 10000.0


class Rotation(NamedTuple):
    """cos and sin [T, D/2] of each token's angles, text tokens first."""

    cos: Tensor
    sin: Tensor

    def part(self, begin: int, end: int) -> Rotation:
        """Of tokens begin to end."""
        return Rotation(self.cos[begin:end], self.sin[begin:end])


def rotation(config: FlowConfig, height: int, width: int, text_tokens: int, device: torch.device | str) -> Rotation:
    """Of a grid of height × width patches behind `text_tokens` text tokens: [text_tokens + T, D/2] float32."""
    side = float(config.position_side)
    scale = side / math.sqrt(height * width)
    rows = (torch.arange(height, dtype=torch.float32) * scale).repeat_interleave(width)
    columns = (torch.arange(width, dtype=torch.float32) * scale).repeat(height)
    places = torch.zeros(height * width)
    if text_tokens:
        text = torch.arange(text_tokens, dtype=torch.float32) / text_tokens * side
        nothing = torch.zeros(text_tokens)
        rows, columns, places = torch.cat([nothing, rows]), torch.cat([nothing, columns]), torch.cat([text, places])
    half = config.head_dim // 2
    grid_share = half - TEXT_ROTARY if config.txt_size else half
    grid_frequencies = _BASE ** -(torch.arange(0, grid_share, 2).float() / grid_share)
    angles = [torch.outer(rows, grid_frequencies), torch.outer(columns, grid_frequencies)]
    if config.txt_size:
        text_frequencies = _BASE ** -(torch.arange(TEXT_ROTARY).float() / TEXT_ROTARY)
        angles.append(torch.outer(places, text_frequencies))
    together = torch.cat(angles, -1).to(device)
    return Rotation(together.cos(), together.sin())


def rotate(x: Tensor, by: Rotation, halves: bool) -> Tensor:
    """x [B, H, T, D] turned by its tokens' angles, in at least float32, back in x's dtype.

    Pairs are neighbours (2i, 2i + 1), or with `halves` (i, i + D/2), as checkpoints of language models have them.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    cos, sin = by.cos.to(exact), by.sin.to(exact)
    if halves:
        first, second = x.to(exact).chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)
    first, second = x.to(exact).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2).to(x.dtype)
