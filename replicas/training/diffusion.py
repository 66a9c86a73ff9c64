"""Train the latent diffusion model: `python -m replicas.training.diffusion`. Needs the autoencoder's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from replicas.latent_diffusion import TRAINING_STEPS, make_scheduler, new_denoiser, to_grid
from replicas.text import drop_text

from .loop import Plan, Run, compiled, parse_arguments, save_weights
from .scenes import latent_batches

BATCH = 48


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=9000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = new_denoiser()
    run = Run("diffusion", model, Plan(options.steps, learning_rate=1e-3), options.runs)
    batches = latent_batches(options.weights, BATCH, options.seed + 1_000_003 * run.step + 11)
    scheduler = make_scheduler()

    def forward(noisy: Tensor, timestep: Tensor, ids: Tensor, velocity: Tensor) -> Tensor:
        return (model(noisy, timestep, ids).float() - velocity).square().mean()

    velocity_loss = compiled(forward, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        latents, ids = next(batches)
        clean = to_grid(latents)
        noise = torch.randn_like(clean)
        timestep = torch.randint(0, TRAINING_STEPS, (BATCH,))
        noisy = scheduler.add_noise(clean, noise, timestep)
        with torch.autocast("cpu", torch.bfloat16):
            loss = velocity_loss(noisy, timestep, drop_text(ids, 0.1), scheduler.get_velocity(clean, noise, timestep))
        return loss, {}

    run.train(step, lambda: save_weights(model, options.weights / "diffusion.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
