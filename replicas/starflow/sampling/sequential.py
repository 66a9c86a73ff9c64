"""Token after token: each one's mean and scale from those before it, exactly."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .inversion import Inversion


def sequential(inversion: Inversion, z: Tensor, check: Callable[[], None]) -> Tensor:
    """Noise z [B, T, C] of a block, in its reading order, to its data likewise; `check` is called each token."""
    x = z.clone()
    block = inversion.block
    for index in range(inversion.inputs):
        check()
        before = index - 1 + block.shift  # the token that is read; the start token stands before the first
        read = block.inputs(x[:, :1]) if before < 0 else x[:, before : before + 1]
        mean, scale = inversion.predict(read)
        at = slice(index + block.shift, index + block.shift + 1)
        x[:, at] = z[:, at] * scale + mean
    return x
