"""Batches of rendered scenes as latents and word ids, drawn endlessly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..embedded import load_module
from ..patches import to_unit_range
from ..scenes.prompts import sample_scene
from ..scenes.render import render_many
from ..text import WordTokenizer


def latent_batches(weights: Path, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (clean latents [B, 64, 16] float32, word ids [B, words]) of the training part of the scenes."""
    autoencoder = load_module(Autoencoder, weights / "autoencoder.safetensors")
    tokenize, rng = WordTokenizer(), Random(seed)
    while True:
        scenes = [sample_scene(rng) for _ in range(batch)]
        with torch.no_grad():
            latents = autoencoder.encode(to_unit_range(render_many(scenes)))
        yield latents, tokenize([scene.caption for scene in scenes])
