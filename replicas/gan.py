"""The small tier: one pass of a generator over latents, conditioned on a bag of words.

It knows which words a prompt has, not their order: "a cat above a dog" and "a dog above a cat" are the same to it.
Trained as a conditional VAE first and adversarially after (Larsen et al. 2016, arXiv 1512.09300), in latent space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS
from .blocks import Block, RMSNorm
from .embedded import LatentTier, load_module
from .patches import TOKENS
from .seeds import generators, normal
from .text import PAD, WordTokenizer

NOISE_VALUES = 16


class BagOfWords(nn.Module):
    """Word ids, in any order, to one vector."""

    def __init__(self, vocabulary_size: int, width: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.layers = nn.Sequential(nn.Linear(vocabulary_size, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] ids -> [B, width]."""
        bag = torch.zeros(len(ids), self.vocabulary_size, device=ids.device).scatter(1, ids, 1.0)
        bag[:, PAD] = 0
        return self.layers(bag)


class Generator(nn.Module):
    """Noise and a bag of words -> latents, in one pass."""

    def __init__(self, vocabulary_size: int, width: int = 128, layers: int = 5, heads: int = 2) -> None:
        super().__init__()
        self.config = {"vocabulary_size": vocabulary_size, "width": width, "layers": layers, "heads": heads}
        self.words = BagOfWords(vocabulary_size, width)
        self.noise = nn.Linear(NOISE_VALUES, width)
        self.mix = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.position = nn.Parameter(torch.randn(TOKENS, width))
        self.modulations = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, LATENT_CHANNELS)

    def forward(self, noise: Tensor, ids: Tensor) -> Tensor:
        """noise [B, 16], ids [B, T] -> latents [B, 64, 16]."""
        style = self.mix(torch.cat([self.words(ids), self.noise(noise)], -1))
        x = self.position.expand(len(noise), -1, -1)
        for modulation, block in zip(self.modulations, self.blocks, strict=True):
            scale, shift = modulation(style)[:, None].chunk(2, -1)
            x = block(x * (1 + scale) + shift)
        return self.out(self.norm(x))


class GanTier(LatentTier):
    """One pass. A preset has one option, `truncation`: a factor on the noise (Brock et al. 2019)."""

    family = "gan"
    weights_name = "gan"
    sampler_options: Mapping[str, tuple[float, float]] = {"truncation": (0, 1)}

    def build(self, path: Path) -> nn.Module:
        return load_module(Generator, path)

    def draw_latents(self, network: Any, ids: Tensor, seeds: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        noise = normal(generators(seeds), (NOISE_VALUES,), str(ids.device)) * options.get("truncation", 1.0)
        return network(noise, ids)


def new_generator() -> Generator:
    """The embedded configuration, untrained."""
    return Generator(WordTokenizer().size)
