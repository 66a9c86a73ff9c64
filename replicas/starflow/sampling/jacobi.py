"""All tokens of a part at once, again and again, until nothing changes: the fixed point is the sequential result.

Jacobi iteration on x_t = μ_t(x_{<t}) + σ_t(x_{<t}) z_t (Zhai et al. 2024, arXiv 2412.06329), part after part with the
parts before it in the cache (GS-Jacobi, arXiv 2505.12849). The system is triangular: after i iterations the first i
tokens of a part are exact, so as many iterations as tokens always suffice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .inversion import Inversion


def jacobi(inversion: Inversion, z: Tensor, part_tokens: int, tolerance: float, check: Callable[[], None]) -> Tensor:
    """Noise z [B, T, C] of a block, in its reading order, to its data likewise; `check` is called each iteration."""
    x = z.clone()
    shift, block = inversion.block.shift, inversion.block
    for begin in range(0, inversion.inputs, part_tokens):
        end = min(begin + part_tokens, inversion.inputs)
        at = slice(begin + shift, end + shift)
        moving = torch.ones(len(z), dtype=torch.bool, device=z.device)
        for iteration in range(end - begin):
            check()
            mean, scale = inversion.predict(block.inputs(x[:, : end + shift])[:, begin:end])
            new = torch.where(moving[:, None, None], z[:, at] * scale + mean, x[:, at])
            moving = moving & (_size(new - x[:, at]) > tolerance * _size(new))
            x[:, at] = new
            if not moving.any() or iteration == end - begin - 1:
                break
            inversion.forget(begin)
    return x


def _size(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
