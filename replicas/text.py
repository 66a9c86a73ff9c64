"""Word-level text encoding of the embedded models: a few hundred words that were in their captions.

A pooled sentence vector cannot tell "A left of B" from "B left of A"; a sequence of words can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import Block, RMSNorm
from .scenes.vocabulary import words

MAX_WORDS = 14
PAD, UNKNOWN, EMPTY = 0, 1, 2  # EMPTY alone stands for "no text", what guidance compares with
_FIRST_WORD = 3


class WordTokenizer:
    """Captions to word ids. Words that no caption held become UNKNOWN; more than MAX_WORDS are cut."""

    def __init__(self, vocabulary: Sequence[str] | None = None) -> None:
        self.vocabulary = tuple(vocabulary or words())
        self.ids = {word: _FIRST_WORD + i for i, word in enumerate(self.vocabulary)}
        self.size = _FIRST_WORD + len(self.vocabulary)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> [B, MAX_WORDS] int64; an empty prompt is EMPTY."""
        out = torch.full((len(prompts), MAX_WORDS), PAD, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            found = [self.ids.get(word, UNKNOWN) for word in _words_of(prompt)][:MAX_WORDS]
            out[row, : len(found) or 1] = torch.tensor(found or [EMPTY])
        return out

    def cut(self, prompts: Sequence[str]) -> list[bool]:
        """Which prompts have more words than MAX_WORDS, so that only their beginning is read."""
        return [len(_words_of(prompt)) > MAX_WORDS for prompt in prompts]


def _words_of(prompt: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", prompt.lower())


def padding_mask(ids: Tensor) -> Tensor:
    """[B, T] ids -> additive float mask [B, 1, 1, T]: -1e4 at padding."""
    return torch.where(ids == PAD, -1e4, 0.0)[:, None, None, :]


def drop_text(ids: Tensor, share: float) -> Tensor:
    """Replace a random share of rows by EMPTY, for classifier-free guidance (Ho and Salimans 2022)."""
    empty = torch.full_like(ids, PAD)
    empty[:, 0] = EMPTY
    return torch.where(torch.rand(ids.shape[0], 1) < share, empty, ids)


class WordEncoder(nn.Module):
    """Words in their order -> one vector a word."""

    def __init__(self, width: int, layers: int, heads: int, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.position = nn.Parameter(0.5 * torch.randn(MAX_WORDS, width))  # as loud as the words: order must be heard
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = RMSNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] ids -> [B, T, width]; padding positions are not attended to."""
        x, mask = self.embedding(ids) + self.position, padding_mask(ids)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)
