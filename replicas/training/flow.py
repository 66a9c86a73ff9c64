"""Train a flow by exact likelihood: the embedded one, or one of any size on one's own pictures.

    python -m replicas.training.flow                                     # the embedded default; needs the autoencoder
    python -m replicas.training.flow --release starflow.yaml --pictures photos/ \\
        --autoencoder /models/sd-vae --text-encoder /models/flan-t5-xl --device cuda --weights /models/mine

Text is dropped now and then, so that guidance has something to compare with; what is written is the average of the
weights. All that is random depends on the seed and the step, so a run that was stopped ends as if it had not been. Of a
release only the model's arguments are read: learning rate and batch size are given here.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor, nn

from replicas.starflow.embedded import NOISE_STD, new_flow
from replicas.starflow.latents import ImageAutoencoder, Pixels
from replicas.starflow.model import StarFlow
from replicas.starflow.release import read_release
from replicas.starflow.text import TextEncoder, width_of
from replicas.text import drop_text

from .loop import Plan, Run, compiled, parse_arguments, save_weights
from .pictures import Pictures
from .scenes import SceneLatents

DROPPED_TEXT = 0.1  # share of captions left out (Ho and Salimans 2022)
BETWEEN_WEIGHT = 1e-4  # of the mean square of what lies between the blocks, as the released models were trained with


class Task(NamedTuple):
    """What to train, and on what."""

    model: nn.Module
    batch: Callable[[Random], tuple[Tensor, Tensor | None]]  # latents and text
    loss: Callable[[Tensor, Tensor | None], Tensor]  # of noisy latents and text -> [B]
    noise_std: float
    learning_rate: float
    half_precision_file: bool


def main() -> None:
    """Run or resume."""
    options = parse_arguments(
        __doc__ or "", steps=13000, release=Path, pictures=Path, autoencoder=str, text_encoder=str, device=str,
        batch=int, learning_rate=float,
    )  # fmt: skip
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = options.device or "cpu"
    task = pictures_task(options, device) if options.release else scenes_task(options)
    task.model.to(device)
    run = Run("flow", task.model, Plan(options.steps, options.learning_rate or task.learning_rate), options.runs)
    loss_of = compiled(task.loss, options)

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        seed = options.seed * 1_000_003 + number
        torch.manual_seed(seed)
        latents, text = (None if part is None else part.to(device) for part in task.batch(Random(seed)))
        noisy = latents + task.noise_std * torch.randn_like(latents)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return loss_of(noisy, text).mean(), {}

    path = options.weights / "flow.safetensors"
    if options.release:  # configuration and weights in one folder are what the tier loads
        options.weights.mkdir(parents=True, exist_ok=True)
        if not (options.weights / options.release.name).exists():
            shutil.copyfile(options.release, options.weights / options.release.name)
    run.train(step, lambda: save_weights(task.model, path, run.ema_state(), half=task.half_precision_file))


def scenes_task(options: argparse.Namespace) -> Task:
    """The embedded flow on rendered scenes."""
    model, scenes = new_flow(), SceneLatents(options.weights)

    def batch(rng: Random) -> tuple[Tensor, Tensor]:
        latents, ids = scenes.batch(options.batch or 48, rng)
        return latents, drop_text(ids, DROPPED_TEXT)

    return Task(model, batch, model.loss, NOISE_STD, learning_rate=1e-3, half_precision_file=True)


def pictures_task(options: argparse.Namespace, device: str) -> Task:
    """A released configuration on a folder of captioned pictures."""
    width = width_of(options.text_encoder) if options.text_encoder else None
    release = read_release(options.release, text_width=width)
    wanted = {
        "--pictures": (True, options.pictures),
        "--autoencoder": (release.autoencoder is not None, options.autoencoder),
        "--text-encoder": (release.config.txt_size > 0, options.text_encoder),
    }
    for name, (needed, given) in wanted.items():
        if needed != bool(given):
            raise SystemExit(f"{options.release} {'needs' if needed else 'has no use for'} {name}")
    text = autoencoder = None
    if options.text_encoder:
        text = TextEncoder(options.text_encoder, window=release.config.txt_size)
        text.load(device)
    if options.autoencoder:
        autoencoder = ImageAutoencoder(options.autoencoder)
        autoencoder.load(device)
    pictures = Pictures(options.pictures, release, autoencoder or Pixels(), text)
    flow = StarFlow(release.config)

    def loss(noisy: Tensor, states: Tensor | None) -> Tensor:
        encoded = flow(noisy, states)
        between = torch.stack([tokens.square().flatten(1).mean(1) for tokens in encoded.between]).sum(0)
        return encoded.loss() + BETWEEN_WEIGHT * between

    return Task(
        flow, lambda rng: pictures.batch(options.batch or 8, DROPPED_TEXT, rng), loss, release.noise_std,
        learning_rate=1e-4, half_precision_file=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
