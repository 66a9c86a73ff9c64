"""One block on its way from noise to data: what it read is cached, rows of the empty text stand below the others."""

from __future__ import annotations

import torch
from torch import Tensor

from replicas.starflow.block import FlowBlock
from replicas.starflow.cache import KeyValueCache
from replicas.starflow.guidance import guided
from replicas.starflow.positions import Rotation


class Inversion:
    """Means and scales of `block`'s tokens, part by part, in its own reading order.

    With guidance above 0 the transformer sees 2 B rows: those with the text and, below, those with the empty text.

    Args:
        tokens: T of the picture.
        rows: B.
        text: [B, L, D] of a block that reads text.
        text_empty: [B, L, D], or [1, L, D] for all; only with guidance above 0.
        by: rotations of text and tokens, None with learned positions.
    """

    def __init__(
        self,
        block: FlowBlock,
        rows: int,
        tokens: int,
        text: Tensor | None,
        text_empty: Tensor | None,
        by: Rotation | None,
        guidance: float,
        temperature: float,
    ) -> None:
        self.block, self.by = block, by
        self.guidance, self.temperature = guidance, temperature
        self.rows = rows * 2 if guidance > 0 else rows
        self.text_tokens = 0 if text is None else text.shape[1]
        self.inputs = tokens - block.shift
        self.cache = KeyValueCache(
            len(block.attn_blocks),
            self.rows,
            block.kv_heads,
            self.text_tokens + self.inputs,
            block.head_dim,
            device=block.proj_in.weight.device,
            dtype=block.dtype,
        )
        if text is not None:
            self._read(text if text_empty is None else torch.cat([text, text_empty.expand_as(text)]))

    def _read(self, text: Tensor) -> None:
        by = None if self.by is None else self.by.part(0, self.text_tokens)
        self.block.run(self.block.read_text(text), by, self.cache, self.temperature)

    @property
    def read(self) -> int:
        """Inputs that the cache holds."""
        return self.cache.length - self.text_tokens

    def predict(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Read the next inputs [B, t, C]: guided mean and scale [B, t, C] of the tokens that they predict."""
        begin, count = self.cache.length, inputs.shape[1]
        if self.guidance > 0:
            inputs = torch.cat([inputs, inputs])
        by = None if self.by is None else self.by.part(begin, begin + count)
        hidden = self.block.run(self.block.enter(inputs, self.read), by, self.cache, self.temperature)
        mean, scale = self.block.affine(hidden)
        if self.guidance > 0:
            (mean, mean_empty), (scale, scale_empty) = mean.chunk(2), scale.chunk(2)
            return guided(mean, scale, mean_empty, scale_empty, self.guidance)
        return mean, scale

    def forget(self, count: int) -> None:
        """Keep the first `count` inputs and the text."""
        self.cache.forget(self.text_tokens + count)
