"""A block's layers as the samplers run them: new tokens against a cache, in few operations, with chosen products.

Computes what `FlowBlock.run` computes. The difference is speed where no gradient is wanted: queries and keys are turned
in place by one complex product, and the weights may be packed for few rows or halved to bfloat16 (`linear.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from replicas.kernels.attention import attention
from replicas.starflow.block import FlowBlock
from replicas.starflow.cache import KeyValueCache
from replicas.starflow.layers import Layer
from replicas.starflow.linear import Multiply
from replicas.starflow.positions import Rotation, rotate

_Attend = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]  # layer, new q, k, v, scale


class Transformer:
    """The layers of `block`.

    Args:
        by: rotations of text and tokens; None with learned positions.
        multiply: makes of a layer's matrix what multiplies with it; products may be of a smaller type than the block.
        temperature: divides the attention scores.
    """

    def __init__(
        self, block: FlowBlock, by: Rotation | None, multiply: Callable[[nn.Linear], Multiply], temperature: float
    ) -> None:
        self._turn = _Turn(by, block.dtype, block.halves)
        self._layers = [_Layer(layer, self._turn, multiply, temperature) for layer in block.attn_blocks]

    def run(self, hidden: Tensor, cache: KeyValueCache) -> Tensor:
        """Hidden [R, t, width], overwritten, of tokens behind those in `cache`, which will hold them too."""
        begin = cache.length
        self._turn.stand(slice(begin, begin + hidden.shape[1]))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
            return attention(q, *cache.append(layer, k, v), scale=scale)

        for index, layer in enumerate(self._layers):
            layer.run(hidden, index, attend)
        return hidden

    def run_again(self, hidden: Tensor, cache: KeyValueCache, at: slice, rows: Tensor | None) -> Tensor:
        """Hidden [R, t, width], overwritten, of tokens that `cache` holds at the positions `at`; they are read anew.

        `rows` [R]: of which rows the cache is to change; None: all. Positions that are not neighbours need a mask, of
        t × at.stop, and an attention that takes one.
        """
        self._turn.stand(at)
        seen: Tensor | None = None
        if at.step != 1:
            positions = torch.arange(at.stop, device=hidden.device)
            seen = positions <= positions[at][:, None]  # [t, at.stop]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
            k, v = cache.rewrite(layer, at, k, v, rows)
            if seen is None:
                return attention(q, k, v, scale=scale)
            grouped = k.shape[1] < q.shape[1]
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=grouped)

        for index, layer in enumerate(self._layers):
            layer.run(hidden, index, attend)
        return hidden


class _Turn:
    """The rotation of the tokens that are being read."""

    def __init__(self, by: Rotation | None, dtype: torch.dtype, halves: bool) -> None:
        self._by, self._halves = by, halves
        self._here: Rotation | Tensor | None = None
        # One complex product does it where neighbours are pairs and nothing has to be rounded.
        self._complex: Tensor | None = None
        if by is not None and not halves and dtype in (torch.float32, torch.float64):
            self._complex = torch.complex(by.cos.to(dtype), by.sin.to(dtype))[:, None]  # [T, 1, D / 2]

    def stand(self, at: slice) -> None:
        """At these tokens."""
        if self._complex is not None:
            self._here = self._complex[at]
        elif self._by is not None:
            self._here = Rotation(self._by.cos[at], self._by.sin[at])

    def __call__(self, heads: Tensor) -> None:
        """Turn queries and keys [R, t, H, D] where they lie."""
        if isinstance(self._here, Rotation):
            heads.copy_(rotate(heads.transpose(1, 2), self._here, self._halves).transpose(1, 2))
        elif self._here is not None:
            torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(self._here)


class _Layer:
    def __init__(
        self, layer: Layer, turn: _Turn, multiply: Callable[[nn.Linear], Multiply], temperature: float
    ) -> None:
        self._attention, self._mlp, self._turn = layer.attention, layer.mlp, turn
        part = layer.attention
        self._heads, self._turned = part.heads, part.heads + part.kv_heads
        self._all, self._head_dim = part.heads + 2 * part.kv_heads, part.head_dim
        self._scale = part.head_dim**-0.5 / temperature
        self._qkv, self._proj = multiply(part.qkv), multiply(part.proj)
        if layer.mlp.gated:
            self._gate = multiply(layer.mlp.gate_proj)
            self._up, self._down = multiply(layer.mlp.up_proj), multiply(layer.mlp.down_proj)
        else:
            self._up, self._down = multiply(layer.mlp.main[0]), multiply(layer.mlp.main[2])

    def run(self, x: Tensor, index: int, attend: _Attend) -> None:
        """Add attention, then feed-forward, to x [R, t, width]."""
        part = self._attention
        rows, count, _ = x.shape
        heads = self._qkv(part.norm(x)).to(x.dtype).view(rows, count, self._all, self._head_dim)
        if part.query_norm is not None and part.key_norm is not None:
            heads[:, :, : self._heads] = part.query_norm(heads[:, :, : self._heads])
            heads[:, :, self._heads : self._turned] = part.key_norm(heads[:, :, self._heads : self._turned])
        self._turn(heads[:, :, : self._turned])
        heads = heads.transpose(1, 2)  # [R, H + 2 Hkv, t, D]
        q, k, v = heads[:, : self._heads], heads[:, self._heads : self._turned], heads[:, self._turned :]
        mixed = self._proj(attend(index, q, k, v, self._scale).transpose(1, 2).reshape(rows, count, -1))
        x += mixed if part.post_norm is None else part.post_norm(mixed)
        mixed = self._feed(self._mlp.norm(x))
        x += mixed if self._mlp.post_norm is None else self._mlp.post_norm(mixed)

    def _feed(self, x: Tensor) -> Tensor:
        if self._mlp.gated:
            return self._down(functional.gelu(self._gate(x), approximate="tanh").mul_(self._up(x)))
        return self._down(functional.gelu(self._up(x)))
