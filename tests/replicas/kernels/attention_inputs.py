"""What the tests and the benchmark of attention share: inputs as a cache holds them, and the tolerances per dtype."""

from __future__ import annotations

import torch
from torch import Tensor

# Largest error relative to the largest value of the exact result, once for all tests: rounding of the inputs of the
# products (8, 11 or 24 bits; the kernels round probabilities to the input's type before they mix values).
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
GRADIENT_TOLERANCES = {torch.float64: 1e-12, torch.float32: 4e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def inputs(
    batch: int, heads: int, kv_heads: int, queries: int, keys: int, width: int, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """q as a layer makes it, [B, Tq, H, D] transposed; k and v slices of a longer cache whose rest is NaN."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, queries, heads, width, generator=generator).to(dtype).transpose(1, 2)
    k, v = torch.full((2, batch, kv_heads, keys + 3, width), float("nan"), dtype=dtype)
    k[:, :, :keys] = torch.randn(batch, kv_heads, keys, width, generator=generator).to(dtype)
    v[:, :, :keys] = torch.randn(batch, kv_heads, keys, width, generator=generator).to(dtype)
    return q, k[:, :, :keys], v[:, :, :keys]


def error(found: Tensor, exact: Tensor) -> float:
    """Largest difference over the largest value, or over 0.1 where all are smaller; NaN if there is one anywhere."""
    found, exact = found.detach().double(), exact.detach()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=0.1))
