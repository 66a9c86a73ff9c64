"""Train the autoencoder: `python -m replicas.training.autoencoder`. Train it first; every tier draws in its latents."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from replicas.autoencoder import LATENT_CHANNELS, Autoencoder
from replicas.patches import TOKENS, to_patches, to_unit_range
from replicas.scenes.prompts import sample_scene
from replicas.scenes.render import render_many

from .loop import Plan, Run, compiled, parse_arguments, save_weights

BATCH = 48


def reconstruction_loss(drawn: Tensor, pixels: Tensor) -> Tensor:
    """L1 + 2 MSE + 0.5 edge loss; patches with something in them weigh four times a plain one."""
    plain = to_patches(pixels).var(-1, keepdim=True) < 1e-4
    weight = torch.where(plain, 0.4, 1.6)
    difference = to_patches(drawn) - to_patches(pixels)
    point = ((difference.abs() + 2 * difference.square()) * weight).mean()
    edges = (drawn.diff(dim=1) - pixels.diff(dim=1)).abs().mean() + (
        drawn.diff(dim=2) - pixels.diff(dim=2)
    ).abs().mean()
    return point + 0.5 * edges


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=6000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = Autoencoder()
    run = Run("autoencoder", model, Plan(options.steps, learning_rate=1.5e-3, ema_decay=0.995), options.runs)
    rng = Random(options.seed + 1000 * run.step)

    def forward(pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        latents = model.encode(pixels)
        drawn = model.decode(latents + noise).float()
        return reconstruction_loss(drawn, pixels), (drawn - pixels).square().mean()

    reconstruct = compiled(forward, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        pixels = to_unit_range(render_many([sample_scene(rng) for _ in range(BATCH)]))
        noise = 0.45 * torch.rand(BATCH, 1, 1) * torch.randn(BATCH, TOKENS, LATENT_CHANNELS)
        with torch.autocast("cpu", torch.bfloat16):
            loss, mse = reconstruct(pixels, noise)
        return loss, {"mse": mse.item()}

    run.train(step, lambda: save_weights(model, options.weights / "autoencoder.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
