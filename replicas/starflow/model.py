"""The whole flow: pictures of latents to noise, exactly invertible, with its log-determinants.

A few shallow blocks stand next to the data, one deep block next to the noise (Gu et al. 2025, arXiv 2506.06276,
section 3.2). `sampling/` goes the other way, `likelihood.py` makes densities of it, `checkpoint.py` loads weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from replicas.errors import SizeNotPossible

from .block import FlowBlock, IdentityBlock
from .config import FlowConfig
from .positions import Rotation, rotation


class Encoded(NamedTuple):
    """What `StarFlow.forward` gives."""

    z: Tensor  # [B, C, H, W], standard normal where the data follow the model
    log_determinants: list[Tensor]  # a block each, [B, T, C p²] in nats, in the block's own reading order
    between: list[Tensor]  # [B, T, C p²] before each block, so the first is the data

    def loss(self) -> Tensor:
        """[B] negative log-likelihood in nats a value, without the normal's constant: what training makes small."""
        log_determinant = torch.stack([term.flatten(1).mean(1) for term in self.log_determinants]).sum(0)
        return 0.5 * self.z.square().flatten(1).mean(1) - log_determinant


class StarFlow(nn.Module):
    """A STARFlow or TARFlow model in float32, untrained. `FlowConfig` says what it is built from."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        blocks = [
            FlowBlock(config, index) if layers else IdentityBlock()
            for index, layers in enumerate(config.layers_per_block)
        ]
        self.blocks = nn.ModuleList(blocks)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, T, p p C], rows first; a token holds its patch's rows, columns, channels."""
        p = self.config.patch_size
        b, c, height, width = x.shape
        grid = x.reshape(b, c, height // p, p, width // p, p)
        return grid.permute(0, 2, 4, 3, 5, 1).reshape(b, (height // p) * (width // p), p * p * c)

    def from_tokens(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """[B, T, p p C] -> [B, C, height, width], the inverse of `to_tokens`; sizes in latent pixels."""
        p, c = self.config.patch_size, self.config.in_channels
        grid = tokens.reshape(len(tokens), height // p, width // p, p, p, c)
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), c, height, width)

    def check_grid(self, height: int, width: int) -> None:
        """Refuse a grid of latent pixels that this configuration cannot serve, with SizeNotPossible."""
        p, side = self.config.patch_size, self.config.img_size
        if height < 1 or width < 1 or height % p or width % p:
            raise SizeNotPossible(
                f"a grid of {height} x {width} latent pixels: both must be multiples of the patch size, {p}"
            )
        if not self.config.rope and (height, width) != (side, side):
            raise SizeNotPossible(
                f"a grid of {height} x {width} latent pixels: this flow has learned positions (rope: false) and serves "
                f"{side} x {side} only"
            )

    def rotation(self, block: int, height: int, width: int, text_tokens: int) -> Rotation | None:
        """Rotary angles of a block on a grid of latent pixels, its text tokens first; None with learned positions."""
        if not self.config.rope:
            return None
        p = self.config.patch_size
        text_tokens = text_tokens if self.config.reads_text(block) else 0
        return rotation(self.config, height // p, width // p, text_tokens, next(self.parameters()).device)

    def check_text(self, text: Tensor | None, rows: int) -> None:
        """Refuse text states of the wrong shape, with ValueError."""
        config = self.config
        if config.txt_dim == 0:
            return
        shape = None if text is None else tuple(text.shape)
        if shape is None or len(shape) != 3 or shape[0] != rows or shape[1] < 1 or shape[2] != config.txt_dim:
            raise ValueError(f"text states have shape {shape}; this flow wants [{rows}, L, {config.txt_dim}], L >= 1")

    def forward(self, x: Tensor, text: Tensor | None = None) -> Encoded:
        """Latents [B, C, H, W] and text states [B, L, D] -> noise, log-determinants, what lies between the blocks.

        Raises SizeNotPossible and ValueError where grid or text do not fit the configuration.
        """
        height, width = x.shape[-2:]
        self.check_grid(height, width)
        self.check_text(text, len(x))
        text_tokens = 0 if text is None else text.shape[1]
        tokens, log_determinants, between = self.to_tokens(x), [], []
        for index, block in enumerate(self.blocks):
            between.append(tokens)
            by = self.rotation(index, height, width, text_tokens)
            tokens, log_determinant = block(tokens, text if block.conditioned else None, by)
            log_determinants.append(log_determinant)
        return Encoded(self.from_tokens(tokens, height, width), log_determinants, between)
