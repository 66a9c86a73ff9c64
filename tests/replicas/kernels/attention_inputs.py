"""What the tests and the benchmark of attention share: inputs as a cache holds them, and the tolerances per dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from replicas.kernels.attention import attention
from replicas.kernels.attention_reference import attention_reference

# Largest error relative to the largest exact value, once for all tests and the benchmark: what rounding the inputs of
# the products leaves (8 or 11 bits; the kernels round probabilities to the input's type before they mix values), and
# for float32 what its three TF32 products leave on a GPU, about 21 bits.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
GRADIENT_TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


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


def on(device: torch.device, sizes: tuple[int, int, int, int, int], width: int = 32, dtype: Any = torch.float32) -> Any:
    """q, k, v that ask for gradients, and their exact doubles."""
    given = [x.to(device).requires_grad_() for x in inputs(*sizes, width, dtype)]
    return given, [x.detach().double().requires_grad_() for x in given]


def check(sizes: tuple[int, int, int, int, int], width: int, dtype: torch.dtype, device: torch.device) -> None:
    """Result and gradients, relative to the largest exact value."""
    given, exact = on(device, sizes, width, dtype)
    found_out = attention(*given, scale=width**-0.5, backend="triton")
    exact_out = attention_reference(*exact, scale=width**-0.5)
    assert (found_out.dtype, found_out.shape) == (dtype, exact_out.shape)
    assert error(found_out, exact_out) <= TOLERANCES[dtype]
    weights = torch.randn(found_out.shape, generator=torch.Generator().manual_seed(1)).to(dtype).to(device)
    found = torch.autograd.grad(found_out, given, weights)
    wanted = torch.autograd.grad(exact_out, exact, weights.double())
    errors = {name: error(*pair) for name, *pair in zip("qkv", found, wanted, strict=True)}
    assert all(one <= GRADIENT_TOLERANCES[dtype] for one in errors.values()), errors
