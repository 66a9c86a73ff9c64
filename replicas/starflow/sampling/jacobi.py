"""All tokens of a part at once, again and again, until nothing changes: the fixed point is the sequential result.

Jacobi iteration on x_t = μ_t(x_{<t}) + σ_t(x_{<t}) z_t (Zhai et al. 2024, arXiv 2412.06329), part after part with the
parts before it in the cache (GS-Jacobi, arXiv 2505.12849). The system is triangular: after i iterations the first i
tokens of a part are exact, so as many iterations as tokens always suffice.

The first iterations may be rough: while the error is larger than what bfloat16 adds, bfloat16 loses nothing. Every item
of a batch stops by itself and is then held still, so that it comes out as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .inversion import Inversion
from .transformer import Transformer

_ROUGH_ERROR = 4e-3  # relative error of a mean in bfloat16, unguided; guidance w makes it (1 + w) times as large
_STANDSTILL = 0.7  # a change that is this share of the one before it is rounding, if it is small
_ROUNDING = 8.0  # how many machine epsilons are small


@dataclass(frozen=True, slots=True)
class Precision:
    """How far to iterate. `rough`: the block's layers in bfloat16, for the first iterations; None: none."""

    tolerance: float
    rough: Transformer | None = None


def jacobi(
    inversion: Inversion, z: Tensor, part_tokens: int, precision: Precision, check: Callable[[], None]
) -> Tensor:
    """Noise z [B, T, C] of a block, in its reading order, to its data likewise; `check` is called each iteration."""
    x = z.clone()
    rough_tolerance = max(precision.tolerance, _ROUGH_ERROR * (1 + inversion.guidance))
    for begin in range(0, inversion.inputs, part_tokens):
        part = _Part(inversion, z, x, begin, min(begin + part_tokens, inversion.inputs), check)
        if precision.rough is not None:
            part.iterate(precision.rough, torch.bfloat16, rough_tolerance)
            if precision.tolerance >= rough_tolerance:
                continue
            inversion.forget(begin)
        part.iterate(inversion.transformer, inversion.block.dtype, precision.tolerance)
    return x


class _Part:
    """Inputs `begin` to `end`, whose predictions are written to x [B, T, C]."""

    def __init__(
        self, inversion: Inversion, z: Tensor, x: Tensor, begin: int, end: int, check: Callable[[], None]
    ) -> None:
        self._inversion, self._x, self._begin, self._end, self._check = inversion, x, begin, end, check
        self._at = slice(begin + inversion.block.shift, end + inversion.block.shift)
        self._z = z[:, self._at]
        self._change: Tensor | None = None  # [B], of the last iteration, ‖new − old‖ / ‖new‖

    def iterate(self, transformer: Transformer, dtype: torch.dtype, tolerance: float) -> None:
        """Until the relative error of every item is about `tolerance` or its rounding in `dtype`; read at the end."""
        small = _ROUNDING * torch.finfo(dtype).eps * (1 + self._inversion.guidance) if tolerance > 0 else 0.0
        moving = torch.ones(len(self._x), dtype=torch.bool, device=self._x.device)
        inputs = self._inputs()
        for left in range(self._end - self._begin - 1, -1, -1):
            self._check()
            mean, scale = self._inversion.predict(inputs, transformer)
            new = self._z * scale + mean
            change = _size(new - self._x[:, self._at]) / _size(new)
            rate = torch.full_like(change, 0.5) if self._change is None else change / self._change
            self._x[:, self._at] = new
            # What is left of a geometric series: change · (rate + rate² + …).
            error = change * rate / (1 - rate.clamp(max=0.95))
            self._change = change if self._change is None else torch.where(moving, change, self._change)
            moving = moving & (error > tolerance) & ~((rate > _STANDSTILL) & (change <= small))
            if left == 0 or not moving.any():
                return
            self._inversion.forget(self._begin)
            inputs = torch.where(moving[:, None, None], self._inputs(), inputs)

    def _inputs(self) -> Tensor:
        return self._inversion.block.inputs(self._x[:, : self._at.stop])[:, self._begin :]


def _size(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
