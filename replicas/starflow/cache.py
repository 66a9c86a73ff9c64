"""Keys and values of the tokens that a block has read. Keys are stored rotated, so that no step turns them again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class KeyValueCache:
    """Room for `capacity` tokens in each of a block's layers. Between steps all layers hold as many."""

    def __init__(
        self,
        layers: int,
        rows: int,
        heads: int,
        capacity: int,
        head_dim: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (rows, heads, capacity, head_dim)
        self._keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]
        self._values = [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)]
        self._lengths = [0] * layers

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._lengths[0]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v [B, H, t, D] behind what the layer holds; all of it so far, [B, H, length, D], without a copy."""
        begin, count = self._lengths[layer], k.shape[2]
        keys, values = self._keys[layer], self._values[layer]
        keys.narrow(2, begin, count).copy_(k)
        values.narrow(2, begin, count).copy_(v)
        self._lengths[layer] = begin + count
        return keys.narrow(2, 0, begin + count), values.narrow(2, 0, begin + count)

    def rewrite(self, layer: int, at: slice, k: Tensor, v: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Store k, v [B, H, t, D] at the positions `at` of what is held, of the rows where `rows` [B] is true.

        Returns what stands up to the end of `at`, [B, H, at.stop, D], without a copy.
        """
        for whole, new in ((self._keys[layer], k), (self._values[layer], v)):
            old = whole[:, :, at]
            old.copy_(new if rows is None else torch.where(rows[:, None, None, None], new, old))
        return self._keys[layer].narrow(2, 0, at.stop), self._values[layer].narrow(2, 0, at.stop)

    def repeat(self, other: KeyValueCache, rows: Sequence[int]) -> None:
        """Begin as `other`, row i as its row rows[i]: what many rows have read alike is computed once."""
        length = other.length
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            for to, source in zip(mine, theirs, strict=True):
                to[:, :, :length] = source[list(rows), :, :length]
        self._lengths = [length] * len(self._lengths)

    def forget(self, length: int) -> None:
        """Keep the first `length` tokens; what came behind them will be written anew."""
        assert length <= self.length
        self._lengths = [length] * len(self._lengths)
