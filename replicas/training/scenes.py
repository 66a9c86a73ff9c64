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


class SceneLatents:
    """Of the training part of the scenes, encoded by the autoencoder in the folder `weights`."""

    def __init__(self, weights: Path) -> None:
        self._autoencoder = load_module(Autoencoder, weights / "autoencoder.safetensors")
        self._tokenize = WordTokenizer()

    def batch(self, size: int, rng: Random) -> tuple[Tensor, Tensor]:
        """Clean latents [B, 64, 16] float32 and word ids [B, words]."""
        scenes = [sample_scene(rng) for _ in range(size)]
        with torch.no_grad():
            latents = self._autoencoder.encode(to_unit_range(render_many(scenes)))
        return latents, self._tokenize([scene.caption for scene in scenes])


def latent_batches(weights: Path, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of SceneLatents."""
    source, rng = SceneLatents(weights), Random(seed)
    while True:
        yield source.batch(batch, rng)
