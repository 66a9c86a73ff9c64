"""Batches of rendered scenes as latents and word ids, drawn endlessly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from replicas.autoencoder import Autoencoder
from replicas.embedded import load_module
from replicas.patches import to_unit_range
from replicas.scenes.prompts import sample_scene
from replicas.scenes.render import render_many
from replicas.text import WordTokenizer


def latent_batches(weights: Path, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (clean latents [B, 64, 16] float32, word ids [B, words]) of the training part of the scenes."""
    autoencoder = load_module(Autoencoder, weights / "autoencoder.safetensors")
    tokenize, rng = WordTokenizer(), Random(seed)
    while True:
        scenes = [sample_scene(rng) for _ in range(batch)]
        with torch.no_grad():
            latents = autoencoder.encode(to_unit_range(render_many(scenes)))
        yield latents, tokenize([scene.caption for scene in scenes])
