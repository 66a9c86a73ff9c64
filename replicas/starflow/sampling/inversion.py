"""One block on its way from noise to data: what it read is cached, rows of the empty text stand below the others."""

from __future__ import annotations

import torch
from torch import Tensor

from replicas.starflow.block import FlowBlock
from replicas.starflow.cache import KeyValueCache
from replicas.starflow.guidance import guided

from .transformer import Transformer


class Inversion:
    """Means and scales of a block's tokens, part by part, in its own reading order.

    With guidance above 0 the transformer sees 2 B rows: those with the text and, below, those with the empty text.

    Args:
        transformer: of the block's layers; another one may be given for a single prediction.
        rows: B.
        tokens: T of the picture.
        text: [B, L, D] of a block that reads text.
        text_empty: [B, L, D], or [1, L, D] for all; only with guidance above 0.
    """

    def __init__(
        self,
        block: FlowBlock,
        transformer: Transformer,
        rows: int,
        tokens: int,
        text: Tensor | None,
        text_empty: Tensor | None,
        guidance: float,
    ) -> None:
        self.block, self.transformer, self.guidance = block, transformer, guidance
        self.text_tokens = 0 if text is None else text.shape[1]
        self.inputs = tokens - block.shift
        rows = 2 * rows if guidance > 0 else rows
        self.cache = self._room(rows, self.text_tokens + self.inputs)
        if text is not None:
            self._read(text, text_empty)

    def predict(self, inputs: Tensor, transformer: Transformer | None = None) -> tuple[Tensor, Tensor]:
        """Read the next inputs [B, t, C]: guided mean and scale [B, t, C] of the tokens that they predict."""
        hidden = self._doubled(self.block.enter(inputs, self.cache.length - self.text_tokens))
        return self._affine((transformer or self.transformer).run(hidden, self.cache))

    def predict_again(
        self, inputs: Tensor, at: slice, rows: Tensor | None, transformer: Transformer
    ) -> tuple[Tensor, Tensor]:
        """As `predict`, of inputs that were read before, number `at`; others keep what was read of them.

        `rows` [B]: of which items the cache is to change; None: all.
        """
        hidden = self._doubled(self.block.enter(inputs, at.start, at.step))
        in_cache = slice(self.text_tokens + at.start, self.text_tokens + at.stop, at.step)
        rows = None if rows is None else self._doubled(rows)
        return self._affine(transformer.run_again(hidden, self.cache, in_cache, rows))

    def _doubled(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows]) if self.guidance > 0 else rows

    def _affine(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.block.affine(hidden)
        if self.guidance > 0:
            (mean, mean_empty), (scale, scale_empty) = mean.chunk(2), scale.chunk(2)
            return guided(mean, scale, mean_empty, scale_empty, self.guidance)
        return mean, scale

    def forget(self, count: int) -> None:
        """Keep the first `count` inputs and the text."""
        self.cache.forget(self.text_tokens + count)

    def _read(self, text: Tensor, text_empty: Tensor | None) -> None:
        """Into the cache; a single row of empty text is read once, however many rows it serves."""
        rows = len(text)
        together = text if text_empty is None else torch.cat([text, text_empty])
        hidden = self.block.read_text(together)
        if len(together) in (rows, 2 * rows):
            self.transformer.run(hidden, self.cache)
            return
        once = self._room(rows + 1, self.text_tokens)
        self.transformer.run(hidden, once)
        self.cache.repeat(once, [*range(rows), *[rows] * rows])

    def _room(self, rows: int, capacity: int) -> KeyValueCache:
        block = self.block
        return KeyValueCache(
            len(block.attn_blocks), rows, block.kv_heads, capacity, block.head_dim,
            device=block.proj_in.weight.device, dtype=block.dtype,
        )  # fmt: skip
