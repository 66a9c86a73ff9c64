"""Keys and values of the tokens that a block has read. Keys are stored rotated, so that no step turns them again."""

from __future__ import annotations

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
        shape = (layers, rows, heads, capacity, head_dim)
        self._keys = torch.empty(shape, device=device, dtype=dtype)
        self._values = torch.empty(shape, device=device, dtype=dtype)
        self._lengths = [0] * layers

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._lengths[0]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v [B, H, t, D] behind what the layer holds; all of it so far, [B, H, length, D], without a copy."""
        begin = self._lengths[layer]
        end = begin + k.shape[2]
        self._keys[layer, :, :, begin:end] = k
        self._values[layer, :, :, begin:end] = v
        self._lengths[layer] = end
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def forget(self, length: int) -> None:
        """Keep the first `length` tokens; what came behind them will be written anew."""
        assert length <= self.length
        self._lengths = [length] * len(self._lengths)
