"""The transformer block that the small models share. Explicit softmax attention: on CPUs it is faster than
`scaled_dot_product_attention` in bfloat16, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square normalisation over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:  # [..., width]
        return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype) * self.scale.to(x.dtype)


class SquaredReLU(nn.Module):
    """max(x, 0)^2: as good as GELU and much cheaper on a CPU in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


class Attention(nn.Module):
    """Multi-head self-attention, or cross-attention where `memory` is given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """x [B, T, width]; mask additive, broadcast to [B, H, T, S]; memory [B, S, width] -> [B, T, width]."""
        source = x if memory is None else memory
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D]
        k, v = self.key_value(source).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention, optional cross-attention, and a squared-ReLU feed-forward layer (So et al. 2021)."""

    def __init__(self, width: int, heads: int, cross: bool = False, expansion: int = 4) -> None:
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.norm_cross = RMSNorm(width) if cross else None
        self.cross = Attention(width, heads) if cross else None
        self.norm_mlp = RMSNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), SquaredReLU(), nn.Linear(expansion * width, width)
        )

    def forward(
        self, x: Tensor, mask: Tensor | None = None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        x = x + self.attention(self.norm_attention(x), mask)
        if self.cross is not None and self.norm_cross is not None:
            x = x + self.cross(self.norm_cross(x), memory_mask, memory)
        return x + self.mlp(self.norm_mlp(x))
