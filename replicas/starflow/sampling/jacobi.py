"""All tokens of a part at once, again and again, until nothing changes: the fixed point is the sequential result.

Jacobi iteration on x_t = μ_t(x_{<t}) + σ_t(x_{<t}) z_t (Zhai et al. 2024, arXiv 2412.06329), part after part with the
parts before it in the cache (GS-Jacobi, arXiv 2505.12849). The system is triangular: after i iterations the first i
tokens of a part are exact, so as many iterations as tokens always suffice.

With `colors` above 1, an iteration after the first is a sweep: every n-th token at once, then their neighbours behind,
and so on, each with what the sweep has found so far (multicolor Gauss-Seidel; Saad 2003, "Iterative methods for sparse
linear systems", section 12.4). A token depends most on its neighbour, so a sweep goes further than an iteration and
multiplies as much.

The first iterations may be rough: while the error is larger than what bfloat16 adds, bfloat16 loses nothing. No
others follow where bfloat16 adds at most half the tolerance. Every item of a batch stops by itself and is then held
still, so that it comes out as it would alone.

An item whose changes are rounding stops too, whatever the tolerance. Slow convergence can look like it, so it takes
two changes in a row that did not shrink, both of the size that rounding has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .inversion import Inversion
from .transformer import Transformer

_ROUGH_ERROR = 4e-3  # relative error of a mean in bfloat16, unguided; guidance w makes it (1 + w) times as large
_STANDSTILL = 0.7  # a change that is at least this share of the one before it stands still
_STANDSTILLS = 2  # so many in a row are rounding, if they are small; slow convergence has a single one at times
_ROUNDING = 2.0  # so many machine epsilons are small, unguided, but never more than two results in bfloat16 are apart


@dataclass(frozen=True, slots=True)
class Precision:
    """How far to iterate, and how."""

    tolerance: float
    colors: int = 1
    rough: Transformer | None = None  # the block's layers in bfloat16, for the first iterations; None: none


def jacobi(
    inversion: Inversion, z: Tensor, part_tokens: int, precision: Precision, check: Callable[[], None]
) -> Tensor:
    """Noise z [B, T, C] of a block, in its reading order, to its data likewise; `check` is called each iteration."""
    x = z.clone()
    rough_error = _ROUGH_ERROR * (1 + inversion.guidance)
    for begin in range(0, inversion.inputs, part_tokens):
        end = min(begin + part_tokens, inversion.inputs)
        part = _Part(inversion, z, x, begin, end, precision.colors, check)
        if precision.rough is not None:
            part.iterate(precision.rough, torch.bfloat16, max(precision.tolerance, rough_error))
            if precision.tolerance >= 2 * rough_error:
                continue
        part.iterate(inversion.transformer, inversion.block.dtype, precision.tolerance)
    return x


class _Part:
    """Inputs `begin` to `end`, whose predictions are written to x [B, T, C]."""

    def __init__(
        self,
        inversion: Inversion,
        z: Tensor,
        x: Tensor,
        begin: int,
        end: int,
        colors: int,
        check: Callable[[], None],
    ) -> None:
        self._inversion, self._begin, self._end, self._check = inversion, begin, end, check
        self._z, self._x = z, x
        self._colors = min(colors, end - begin)
        self._change: Tensor | None = None  # [B], of the last iteration, ‖new − old‖ / ‖new‖

    def iterate(self, transformer: Transformer, dtype: torch.dtype, tolerance: float) -> None:
        """Until the relative error of every item is about `tolerance` or its rounding in `dtype`."""
        small = min(_ROUNDING * torch.finfo(dtype).eps, 2 * _ROUGH_ERROR) * (1 + self._inversion.guidance)
        stood = torch.zeros(len(self._x), dtype=torch.int64, device=self._x.device)  # how often in a row
        moving = torch.ones(len(self._x), dtype=torch.bool, device=self._x.device)
        rows: Tensor | None = None  # the same, once an item stands still
        known = slice(self._begin + self._inversion.block.shift, self._end + self._inversion.block.shift)
        for _ in range(self._end - self._begin):
            self._check()
            before = self._x[:, known].clone()
            for at in self._turns():
                self._predict(at, rows, transformer)
            new = self._x[:, known]
            change = _size(new - before) / _size(new)
            rate = torch.full_like(change, 0.5) if self._change is None else change / self._change
            # What is left of a geometric series: change · (rate + rate² + …).
            error = change * rate / (1 - rate.clamp(max=0.95))
            self._change = change if self._change is None else torch.where(moving, change, self._change)
            still = (rate > _STANDSTILL) & (change <= small) & (tolerance > 0)
            stood = torch.where(still, stood + 1, 0)
            moving = moving & (error > tolerance) & (stood < _STANDSTILLS)
            if not moving.any():
                return
            rows = None if moving.all() else moving

    def _turns(self) -> list[slice]:
        """Inputs that are read together: all the first time, then one color after another."""
        if self._change is None or self._colors == 1:
            return [slice(self._begin, self._end, 1)]
        return [slice(self._begin + color, self._end, self._colors) for color in range(self._colors)]

    def _predict(self, at: slice, rows: Tensor | None, transformer: Transformer) -> None:
        inversion, block = self._inversion, self._inversion.block
        inputs = block.inputs(self._x[:, : at.stop + block.shift])[:, at]
        if self._change is None:
            mean, scale = inversion.predict(inputs, transformer)
        else:
            mean, scale = inversion.predict_again(inputs, at, rows, transformer)
        to = slice(at.start + block.shift, at.stop + block.shift, at.step)
        new = self._z[:, to] * scale + mean
        self._x[:, to] = new if rows is None else torch.where(rows[:, None, None], new, self._x[:, to])


def _size(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
