"""Train the flow by exact likelihood: `python -m replicas.training.flow`. Needs the autoencoder's weights.

`--config FILE` takes another configuration than the embedded one, of any size: the constructor's options as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from replicas.starflow.config import FlowConfig
from replicas.starflow.embedded import NOISE_STD, new_flow
from replicas.text import drop_text

from .loop import Plan, Run, compiled, parse_arguments, save_weights
from .scenes import latent_batches

BATCH = 48
DROPPED_TEXT = 0.1  # share of captions left out, so that guidance has something to compare with


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=13000, config=Path)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    config = None
    if options.config:
        config = FlowConfig.from_constructor(json.loads(options.config.read_text("utf-8")))
    model = new_flow(config)
    run = Run("flow", model, Plan(options.steps, learning_rate=1e-3), options.runs)
    batches = latent_batches(options.weights, BATCH, options.seed + 1_000_003 * run.step + 5)
    likelihood = compiled(model.negative_log_likelihood, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        latents, ids = next(batches)
        noisy = latents + NOISE_STD * torch.randn_like(latents)
        with torch.autocast("cpu", torch.bfloat16):
            loss = likelihood(noisy, drop_text(ids, DROPPED_TEXT)).mean()
        return loss, {}

    run.train(step, lambda: save_weights(model, options.weights / "flow.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
