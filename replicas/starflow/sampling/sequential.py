"""Token after token: each one's mean and scale from those before it, exactly."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .inversion import Inversion


def sequential(inversion: Inversion, z: Tensor, check: Callable[[], None]) -> Tensor:
    """Noise z [B, T, C] of a block, in its reading order, to its data likewise; `check` may raise between tokens."""
    x = z.clone()
    shift = inversion.block.shift
    for index in range(inversion.inputs):
        check()
        before = x[:, index : index + 1] if shift else inversion.block.inputs(x[:, : index + 1])[:, index:]
        mean, scale = inversion.predict(before)
        at = slice(index + shift, index + shift + 1)
        x[:, at] = z[:, at] * scale + mean
    return x
