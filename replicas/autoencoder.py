"""Pictures to 8 x 8 x 16 latents and back: every embedded tier draws in this space.

The encoder sees one patch at a time, so a latent token says what its own patch looks like and nothing else, which
keeps the sequence that the flow has to learn simple. The decoder is a small ViT that was trained on noisy latents:
it also denoises what the tiers draw.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Block, RMSNorm, SquaredReLU
from .patches import PATCH_PX, TOKENS, from_patches, to_patches

LATENT_CHANNELS = 16
PATCH_VALUES = PATCH_PX * PATCH_PX * 3


class Autoencoder(nn.Module):
    """Patch-wise encoder and denoising ViT decoder. Latents have mean 0 and standard deviation 1 a channel."""

    def __init__(self, width: int = 192, layers: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.config = {"width": width, "layers": layers, "heads": heads}
        self.encode_linear = nn.Linear(PATCH_VALUES, LATENT_CHANNELS)
        self.encode_mlp = nn.Sequential(
            nn.Linear(PATCH_VALUES, 2 * width), SquaredReLU(), nn.Linear(2 * width, LATENT_CHANNELS)
        )
        self.standardise = nn.BatchNorm1d(LATENT_CHANNELS, affine=False, momentum=0.02)
        self.decode_in = nn.Linear(LATENT_CHANNELS, width)
        self.position = nn.Parameter(0.02 * torch.randn(TOKENS, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.decode_out = nn.Linear(width, PATCH_VALUES)

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, 64, 64, 3] in [-1, 1] -> latents [B, 64, 16]."""
        patches = to_patches(pixels)
        raw = self.encode_linear(patches) + self.encode_mlp(patches)
        return self.standardise(raw.float().flatten(0, 1)).unflatten(0, raw.shape[:2])

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 64, 16], clean or noisy -> pixels [B, 64, 64, 3] about [-1, 1]."""
        x = self.decode_in(latents) + self.position
        for block in self.blocks:
            x = block(x)
        return from_patches(self.decode_out(self.norm(x)))
