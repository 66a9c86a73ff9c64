"""Train a flow by exact likelihood: the embedded one, or one of any size on one's own pictures.

    python -m replicas.training.flow                                     # the embedded default; needs the autoencoder
    python -m replicas.training.flow --release starflow.yaml --pictures photos/ \\
        --autoencoder /models/sd-vae --text-encoder /models/flan-t5-xl --device cuda --weights /models/mine

Text is dropped now and then, so that guidance has something to compare with; what is written is the average of the
weights. A run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from replicas.starflow.embedded import NOISE_STD, new_flow
from replicas.starflow.latents import ImageAutoencoder
from replicas.starflow.model import StarFlow
from replicas.starflow.release import read_release
from replicas.starflow.text import TextEncoder
from replicas.text import drop_text

from .loop import Plan, Run, compiled, parse_arguments, save_weights
from .pictures import Pictures
from .scenes import latent_batches

DROPPED_TEXT = 0.1  # share of captions left out (Ho and Salimans 2022)
BETWEEN_WEIGHT = 1e-4  # of the mean square of what lies between the blocks, as the released models were trained with


class Task(NamedTuple):
    """What to train, and on what."""

    model: nn.Module
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]  # seed -> endless (latents, text)
    loss: Callable[[Tensor, Tensor], Tensor]  # noisy latents and text -> [B]
    noise_std: float
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
    run = Run("flow", task.model, Plan(options.steps, options.learning_rate or 1e-3), options.runs)
    batches = task.batches(options.seed + 1_000_003 * run.step + 5)
    loss_of = compiled(task.loss, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        latents, text = (part.to(device) for part in next(batches))
        noisy = latents + task.noise_std * torch.randn_like(latents)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return loss_of(noisy, text).mean(), {}

    path = options.weights / "flow.safetensors"
    if options.release:  # configuration and weights in one folder are what the tier loads
        options.weights.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(options.release, options.weights / options.release.name)
    run.train(step, lambda: save_weights(task.model, path, run.ema_state(), half=task.half_precision_file))


def scenes_task(options: argparse.Namespace) -> Task:
    """The embedded flow on rendered scenes."""
    model = new_flow()

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        for latents, ids in latent_batches(options.weights, options.batch or 48, seed):
            yield latents, drop_text(ids, DROPPED_TEXT)

    return Task(model, batches, model.loss, NOISE_STD, half_precision_file=True)


def pictures_task(options: argparse.Namespace, device: str) -> Task:
    """A released configuration on a folder of captioned pictures."""
    missing = [f"--{name}" for name in ("pictures", "autoencoder", "text-encoder") if not _given(options, name)]
    if missing:
        raise SystemExit(f"--release also needs {', '.join(missing)}")
    text = TextEncoder(options.text_encoder, window=1)
    text.load(device)
    release = read_release(options.release, text_width=text.width)
    text = TextEncoder(options.text_encoder, window=release.config.txt_size)
    text.load(device)
    autoencoder = ImageAutoencoder(options.autoencoder)
    autoencoder.load(device)
    pictures = Pictures(options.pictures, release, autoencoder, text)
    flow = StarFlow(release.config)

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        return pictures.batches(options.batch or 8, DROPPED_TEXT, seed)

    def loss(noisy: Tensor, states: Tensor) -> Tensor:
        encoded = flow(noisy, states)
        between = torch.stack([tokens.square().flatten(1).mean(1) for tokens in encoded.between]).sum(0)
        return encoded.loss() + BETWEEN_WEIGHT * between

    return Task(flow, batches, loss, release.noise_std, half_precision_file=False)


def _given(options: argparse.Namespace, name: str) -> Any:
    return getattr(options, name.replace("-", "_"))


if __name__ == "__main__":
    main()
