"""The embedded scorer: a dual encoder over small scenes and their captions. A proxy for quality, not quality itself.

score = sigmoid(s cos(image, text) + b), trained with the pairwise sigmoid loss (Zhai et al. 2023, arXiv 2303.15343).
Two more losses taught it what a pooled vector forgets: which object stands in which cell, and which lies on which side
of another. Nothing of the independent check is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Attention, Block, RMSNorm
from .embedded import WEIGHTS, load_module
from .errors import NotLoaded
from .patches import GRID, TOKENS, to_patches, to_unit_range
from .scenes.vocabulary import OBJECTS, RELATIONS
from .scorer import Scorer
from .text import WordEncoder, WordTokenizer, padding_mask

QUERIES = 4  # learned queries that pool the words


class _PoolWords(nn.Module):
    """Attention pooling by learned queries, to one unit vector."""

    def __init__(self, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(QUERIES, width))
        self.attention = Attention(width, heads)
        self.norm = RMSNorm(width)
        self.out = nn.Linear(QUERIES * width, out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        pooled = self.attention(self.queries.expand(len(x), -1, -1), mask, x)
        return functional.normalize(self.out(self.norm(pooled).flatten(1)).float(), dim=-1)


class _PoolQuadrants(nn.Module):
    """Mean and maximum of each quadrant's tokens, to one unit vector: what is where survives the pooling."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.out = nn.Linear(2 * 4 * width, out)

    def forward(self, x: Tensor) -> Tensor:
        half = GRID // 2
        quadrants = x.unflatten(1, (2, half, 2, half)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        pooled = torch.cat([quadrants.mean(2), quadrants.amax(2)], -1)  # [B, 4, 2 width]
        return functional.normalize(self.out(pooled.flatten(1)).float(), dim=-1)


class DualEncoder(nn.Module):
    """Images and captions to unit vectors of one space."""

    def __init__(self, vocabulary_size: int, width: int = 128, image_layers: int = 5, text_layers: int = 3) -> None:
        super().__init__()
        self.config = {
            "vocabulary_size": vocabulary_size, "width": width,
            "image_layers": image_layers, "text_layers": text_layers,
        }  # fmt: skip
        self.embed = nn.Linear(192, width)
        self.position = nn.Parameter(0.5 * torch.randn(TOKENS, width))  # loud: which side a thing is on must be heard
        self.blocks = nn.ModuleList(Block(width, 2) for _ in range(image_layers))
        self.norm = RMSNorm(width)
        self.cell = nn.Linear(width, 1 + len(OBJECTS))  # auxiliary: the object in each cell
        self.place = nn.Linear(2 * width, len(OBJECTS) * len(RELATIONS))  # auxiliary: which object lies on which side
        self.text = WordEncoder(width, text_layers, 2, vocabulary_size)
        self.pool_image = _PoolQuadrants(width, 2 * width)
        self.pool_text = _PoolWords(width, 2, 2 * width)
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 64, 64, 3] in [-1, 1] -> unit vectors [B, 2 width], cell logits [B, 64, 1 + objects]."""
        x = self.embed(to_patches(pixels)) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.pool_image(x), self.cell(x)

    def encode_texts(self, ids: Tensor) -> Tensor:
        """[N, T] word ids -> unit vectors [N, 2 width]."""
        return self.pool_text(self.text(ids), padding_mask(ids))

    def locate(self, vectors: Tensor) -> Tensor:
        """Unit vectors [N, D] of either side -> log-odds [N, objects * relations] of which object lies where."""
        return self.place(vectors * vectors.shape[-1] ** 0.5).float()  # entries of unit vectors are tiny otherwise

    def logits(self, cosine: Tensor) -> Tensor:
        """Cosine -> log-odds that the caption is right."""
        return cosine * self.log_scale.exp() + self.bias


class EmbeddedScorer(Scorer):
    """The scorer of the embedded default; `model` names another folder with `scorer.safetensors`."""

    def __init__(self, model: str | None = None) -> None:
        self._path = (Path(model) if model else WEIGHTS) / "scorer.safetensors"
        self._network: DualEncoder | None = None
        self._device = torch.device("cpu")
        self._tokenize = WordTokenizer()

    def load(self, device: str) -> None:
        self._device = torch.device(device)
        self._network = load_module(DualEncoder, self._path).to(self._device)

    @torch.inference_mode()
    def score(self, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        if self._network is None:
            raise NotLoaded("EmbeddedScorer is not loaded; call load(device) first")
        pictures, _ = self._network.encode_images(to_unit_range(images).to(self._device))
        texts = self._network.encode_texts(self._tokenize(prompts).to(self._device))
        return self._network.logits((pictures * texts).sum(-1)).sigmoid().cpu().numpy()

    def close(self) -> None:
        self._network = None
