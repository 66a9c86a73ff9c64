"""The middle tier's embedded model: latent diffusion with diffusers' transformer and sampler.

v-prediction (Salimans and Ho 2022) on a cosine schedule with zero terminal SNR (Lin et al. 2023), word-level text by
cross-attention, classifier-free guidance, DDIM. `diffusion.py` puts it behind the tier that operators name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS
from .diffusion import build_scheduler, build_transformer
from .embedded import LatentTier, load_module
from .patches import GRID
from .seeds import generators, normal
from .text import EMPTY, PAD, WordEncoder, WordTokenizer

TRAINING_STEPS = 1000


def make_scheduler() -> Any:
    """The noise schedule of training and sampling."""
    return build_scheduler(
        "ddim", num_train_timesteps=TRAINING_STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


class Denoiser(nn.Module):
    """Words and a noisy latent -> velocity."""

    def __init__(self, vocabulary_size: int, layers: int = 4, heads: int = 3, text_layers: int = 2) -> None:
        super().__init__()
        self.config = {
            "vocabulary_size": vocabulary_size, "layers": layers, "heads": heads, "text_layers": text_layers,
        }  # fmt: skip
        width = 64 * heads
        self.text = WordEncoder(width, text_layers, heads, vocabulary_size)
        self.transformer = build_transformer(
            {
                "num_attention_heads": heads, "attention_head_dim": 64, "num_layers": layers,
                "in_channels": LATENT_CHANNELS, "out_channels": LATENT_CHANNELS, "sample_size": GRID, "patch_size": 1,
                "cross_attention_dim": width, "caption_channels": width, "attention_bias": False,
                "activation_fn": "gelu-approximate", "use_additional_conditions": False, "interpolation_scale": 1,
            }
        )  # fmt: skip

    def denoise(self, noisy: Tensor, timestep: Tensor, words: Tensor, present: Tensor) -> Tensor:
        """noisy [B, 16, 8, 8], timestep [B], words [B, T, width], present [B, T] -> velocity [B, 16, 8, 8]."""
        velocity = self.transformer(
            noisy, encoder_hidden_states=words, timestep=timestep, encoder_attention_mask=present,
            added_cond_kwargs={}, return_dict=False,
        )[0]  # fmt: skip
        return velocity

    def forward(self, noisy: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        """As `denoise`, from word ids [B, T]."""
        return self.denoise(noisy, timestep, self.text(ids), (ids != PAD).to(noisy.dtype))


def to_grid(latents: Tensor) -> Tensor:
    """[B, 64, 16] -> [B, 16, 8, 8]."""
    return latents.transpose(1, 2).unflatten(2, (GRID, GRID))


class EmbeddedLatentDiffusion(LatentTier):
    """Options of a preset: `steps`, `guidance` (1: none)."""

    family = "diffusion"
    weights_name = "diffusion"
    sampler_options: Mapping[str, tuple[float, float]] = {"steps": (1, TRAINING_STEPS), "guidance": (1, 20)}

    def build(self, path: Path) -> nn.Module:
        return load_module(Denoiser, path)

    def draw_latents(self, network: Any, ids: Tensor, seeds: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        guidance = float(options.get("guidance", 3.0))
        scheduler = make_scheduler()
        scheduler.set_timesteps(int(options.get("steps", 8)), device=ids.device)
        sample = normal(generators(seeds), (LATENT_CHANNELS, GRID, GRID), str(ids.device))
        if guidance > 1:
            empty = torch.full_like(ids, PAD)
            empty[:, 0] = EMPTY
            ids = torch.cat([ids, empty])
        words, present = network.text(ids), (ids != PAD).to(sample.dtype)
        for t in scheduler.timesteps:
            rows = torch.cat([sample, sample]) if guidance > 1 else sample
            velocity = network.denoise(rows, t.expand(len(rows)), words, present)
            if guidance > 1:
                asked, unasked = velocity.chunk(2)
                velocity = unasked + guidance * (asked - unasked)
            sample = scheduler.step(velocity, t, sample, return_dict=False)[0]
        return sample.flatten(2).transpose(1, 2)


def new_denoiser() -> Denoiser:
    """The embedded configuration, untrained."""
    return Denoiser(WordTokenizer().size)
