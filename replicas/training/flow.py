"""Train the flow by exact likelihood: `python -m replicas.training.flow`. Needs the autoencoder's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from replicas.flow import NOISE, new_flow
from replicas.text import drop_text

from .loop import Plan, Run, compiled, parse_arguments, save_weights
from .scenes import latent_batches

BATCH = 48


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=16000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = new_flow()
    run = Run("flow", model, Plan(options.steps, learning_rate=1e-3), options.runs)
    batches = latent_batches(options.weights, BATCH, options.seed + 1_000_003 * run.step + 5)
    likelihood = compiled(model.negative_log_likelihood, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        latents, ids = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            loss = likelihood(latents + NOISE * torch.randn_like(latents), drop_text(ids, 0.1)).mean()
        return loss, {}

    run.train(step, lambda: save_weights(model, options.weights / "flow.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
