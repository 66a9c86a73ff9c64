"""Train the independent check, on rendered scenes only: `python -m replicas.training.detector`."""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from replicas.detector import Detector
from replicas.patches import to_unit_range
from replicas.scenes.prompts import sample_scene
from replicas.scenes.render import object_map, render_many

from .loop import Plan, Run, compiled, parse_arguments, save_weights

BATCH = 64


def degrade(pixels: Tensor) -> Tensor:
    """Noise and blur of random strength: the pictures it will read are drawn by models, not by a renderer."""
    b = pixels.shape[0]
    blurred = functional.avg_pool2d(pixels.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
    mixed = torch.lerp(pixels, blurred, torch.rand(b, 1, 1, 1) * (torch.rand(b, 1, 1, 1) < 0.5))
    return mixed + 0.15 * torch.rand(b, 1, 1, 1) * torch.randn_like(mixed)


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=4000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = Detector()
    run = Run("detector", model, Plan(options.steps, learning_rate=1.5e-3, ema_decay=0.995), options.runs)
    rng = Random(options.seed + 77_000 + run.step)

    def forward(pixels: Tensor, cells: Tensor, backgrounds: Tensor) -> tuple[Tensor, Tensor]:
        cell_logits, background_logits = model(pixels)
        cell_loss = functional.cross_entropy(cell_logits.float().flatten(0, 1), cells, reduction="none")
        loss = cell_loss.mean() * 8 + 0.3 * functional.cross_entropy(background_logits.float(), backgrounds)
        present = cells > 0
        right = (cell_logits.flatten(0, 1).argmax(-1) == cells) & present
        return loss, right.sum() / present.sum()

    classify = compiled(forward, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        scenes = [sample_scene(rng) for _ in range(BATCH)]
        pixels = degrade(to_unit_range(render_many(scenes)))
        cells = torch.from_numpy(np.stack([object_map(scene) for scene in scenes])).flatten()
        backgrounds = torch.tensor([scene.background for scene in scenes])
        with torch.autocast("cpu", torch.bfloat16):
            loss, right = classify(pixels, cells, backgrounds)
        return loss, {"right": right.item()}

    run.train(step, lambda: save_weights(model, options.weights / "detector.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
