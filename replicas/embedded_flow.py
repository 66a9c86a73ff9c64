"""The large tier: an autoregressive normalizing flow over latents, in the manner of TARFlow and STARFlow.

Each block maps x to z, token by token: z_t = (x_t - mu_t) exp(-alpha_t), where mu_t and alpha_t come from a causal
transformer over x_{<t} (Zhai et al. 2024, arXiv 2412.06329, eq. 4 to 6). Blocks alternate the reading order. A few
shallow blocks without text stand next to the data; one deep block that reads the text stands next to the noise
(Gu et al. 2025, arXiv 2506.06276, section 3.2). Drawing inverts the blocks from noise, one token at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS
from .blocks import Block, RMSNorm
from .embedded import LatentTier, load_module
from .errors import NotLoaded
from .patches import TOKENS, to_unit_range
from .seeds import generators, normal
from .starflow.likelihood import Likelihood
from .text import EMPTY, MAX_WORDS, PAD, WordTokenizer, padding_mask

NOISE = 0.3  # standard deviation added to latents in training; the decoder takes it out again
_MAX_LOG_SCALE = 4.0


class FlowBlock(nn.Module):
    """One invertible autoregressive block; with `vocabulary_size` its sequence begins with the words of the prompt."""

    def __init__(self, width: int, layers: int, reverse: bool, vocabulary_size: int | None = None) -> None:
        super().__init__()
        self.reverse = reverse
        self.prefix = MAX_WORDS if vocabulary_size else 0
        self.words = nn.Embedding(vocabulary_size, width) if vocabulary_size else None
        length = self.prefix + TOKENS
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        with torch.no_grad():  # words are of size 1: quieter positions leave their order unheard
            self.position[: self.prefix] = 0.7 * torch.randn(self.prefix, width)
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.embed = nn.Linear(LATENT_CHANNELS, width)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64)) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, 2 * LATENT_CHANNELS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        causal = torch.ones(length, length).tril()
        causal[: self.prefix, : self.prefix] = 1  # words see all words
        self.register_buffer("mask", torch.where(causal > 0, 0.0, -1e4), persistent=False)

    def _turn(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.reverse else x

    def _mask(self, ids: Tensor | None) -> Tensor:
        mask = self.mask[None, None]
        if ids is None or not self.prefix:
            return mask
        padding = torch.cat([padding_mask(ids), padding_mask(ids).new_zeros(len(ids), 1, 1, TOKENS)], -1)
        return torch.maximum(mask + padding, mask.new_tensor(-1e4))

    def _affine(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        parameters = self.out(self.norm(hidden))
        if parameters.dtype == torch.bfloat16:  # under autocast: z and the determinant need more digits
            parameters = parameters.float()
        mu, alpha = parameters.chunk(2, -1)
        return mu, _MAX_LOG_SCALE * torch.tanh(alpha / _MAX_LOG_SCALE)

    def forward(self, x: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B, T, C], ids [B, words] -> z [B, T, C] and log|dz/dx| [B] in nats."""
        x = self._turn(x)
        shifted = torch.cat([self.start.expand(len(x), 1, -1), self.embed(x[:, :-1])], 1)
        if self.words is not None:
            shifted = torch.cat([self.words(ids), shifted], 1)
        hidden, mask = shifted + self.position, self._mask(ids)
        for block in self.blocks:
            hidden = block(hidden, mask)
        mu, alpha = self._affine(hidden[:, self.prefix :])
        return self._turn((x - mu) * torch.exp(-alpha)), -alpha.sum((1, 2))

    def inverse(self, z: Tensor, ids: Tensor | None, guidance: float = 0.0) -> Tensor:
        """z [B, T, C] -> x [B, T, C], one token after the other with cached keys and values.

        `guidance` w > 0 extrapolates away from the prompt-free prediction: mu + w (mu - mu_empty), alpha alike
        (arXiv 2506.06276, section 3.4).
        """
        z, b = self._turn(z), len(z)
        guided = guidance > 0 and self.words is not None and ids is not None
        if guided and ids is not None:
            empty = torch.full_like(ids, PAD)
            empty[:, 0] = EMPTY
            ids = torch.cat([ids, empty])
        rows = 2 * b if guided else b
        mask = self._mask(ids)
        cache: list[tuple[Tensor, Tensor] | None] = [None] * len(self.blocks)
        entry = self.start.expand(rows, 1, -1)
        if self.words is not None:
            entry = torch.cat([self.words(ids), entry], 1)
        drawn: list[Tensor] = []
        for t in range(TOKENS):
            end = self.prefix + t + 1
            begin = end - entry.shape[1]
            hidden = entry + self.position[begin:end]
            for i, block in enumerate(self.blocks):
                hidden, cache[i] = _step(block, hidden, mask[..., begin:end, :end], cache[i])
            mu, alpha = self._affine(hidden[:, -1:])
            if guided:
                (mu, mu_empty), (alpha, alpha_empty) = mu.chunk(2), alpha.chunk(2)
                mu = mu + guidance * (mu - mu_empty)
                alpha = torch.minimum(alpha, alpha + guidance * (alpha - alpha_empty))
            token = z[:, t : t + 1] * torch.exp(alpha) + mu
            drawn.append(token)
            entry = self.embed(torch.cat([token, token]) if guided else token)
        return self._turn(torch.cat(drawn, 1))


def _step(
    block: Block, x: Tensor, mask: Tensor, cached: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One transformer block on new tokens x [B, t, width] against the cached prefix."""
    attention, normed = block.attention, block.norm_attention(x)
    q = attention.query(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    k, v = attention.key_value(normed).unflatten(-1, (2, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    if cached is not None:
        k, v = torch.cat([cached[0], k], 2), torch.cat([cached[1], v], 2)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask
    x = x + attention.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm_mlp(x)), (k, v)


class Flow(nn.Module):
    """Shallow blocks without text, then one deep block with it."""

    def __init__(
        self, vocabulary_size: int, width: int = 256, layers: int = 4, shallow: int = 3, shallow_width: int = 96
    ) -> None:
        super().__init__()
        self.config = {
            "vocabulary_size": vocabulary_size, "width": width, "layers": layers,
            "shallow": shallow, "shallow_width": shallow_width,
        }  # fmt: skip
        blocks = [FlowBlock(shallow_width, 2, reverse=i % 2 == 0) for i in range(shallow)]
        self.flows = nn.ModuleList([*blocks, FlowBlock(width, layers, shallow % 2 == 0, vocabulary_size)])

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, T, C] and word ids -> z and log-determinant [B] in nats."""
        total = x.new_zeros(len(x))
        for flow in self.flows:
            x, log_determinant = flow(x, ids)
            total = total + log_determinant
        return x, total

    def negative_log_likelihood(self, x: Tensor, ids: Tensor) -> Tensor:
        """[B] nats a dimension, exact for these latents (without the constant of the normal distribution)."""
        z, log_determinant = self(x, ids)
        return (0.5 * z.square().sum((1, 2)) - log_determinant) / x[0].numel()

    def inverse(self, z: Tensor, ids: Tensor, guidance: float) -> Tensor:
        """Noise [B, T, C] -> latents [B, T, C]; only the deep block knows the text, so only it is guided."""
        for flow in reversed(self.flows):
            z = flow.inverse(z, ids, guidance)
        return z


class EmbeddedFlowTier(LatentTier):
    """STARFlow-style flow. Options of a preset: `guidance` (0: none), `temperature` of the noise."""

    family = "flow"
    weights_name = "flow"
    sampler_options: Mapping[str, tuple[float, float]] = {"guidance": (0, 10), "temperature": (0.1, 1.5)}

    def build(self, path: Path) -> nn.Module:
        return load_module(Flow, path)

    def draw_latents(self, network: Any, ids: Tensor, seeds: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        noise = normal(generators(seeds), (TOKENS, LATENT_CHANNELS), str(ids.device))
        noise = noise * options.get("temperature", 1.0)
        return network.inverse(noise, ids, options.get("guidance", 2.0))

    @torch.inference_mode()
    def log_likelihood(self, images: np.ndarray, prompts: Sequence[str], seeds: Sequence[int]) -> Likelihood:
        """Of the latents of images [B, 64, 64, 3] uint8 with the noise of training, drawn by seed."""
        if self._network is None or self._autoencoder is None:
            raise NotLoaded(f"{type(self).__name__} is not loaded; call load(device) first")
        latents = self._autoencoder.encode(to_unit_range(images).to(self._device))
        noisy = latents + NOISE * normal(generators(seeds), latents.shape[1:], str(self._device))
        ids = self.tokenize(prompts).to(self._device)
        dimensions = latents[0].numel()
        nats = -dimensions * (self._network.negative_log_likelihood(noisy, ids).double() + 0.5 * math.log(2 * math.pi))
        return Likelihood(nats.cpu(), dimensions)


def new_flow() -> Flow:
    """The embedded configuration, untrained."""
    return Flow(WordTokenizer().size)
