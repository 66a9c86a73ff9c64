"""The step after sampling: a flow draws noisy latents, and knows itself how to take the noise out.

The best guess of clean latents behind noisy ones x = clean + σ·noise is E[clean | x] = x + σ² ∇ log p(x) (Tweedie's
formula, Efron 2011; score-based denoising in TARFlow, arXiv:2412.06329), and a flow gives log p exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from replicas.errors import DrawingFailed

from .likelihood import log_likelihood
from .model import StarFlow


def denoise(flow: StarFlow, latents: Tensor, text: Tensor | None, noise_std: float) -> Tensor:
    """Noisy latents [B, C, H, W] and text states [B, L, D] -> latents without the noise of `noise_std`, same shape.

    One step without guidance, as released. Item by item, so that an item has the bits that it has alone and memory (of
    a backward pass through all blocks) does not grow with the batch. Raises DrawingFailed where the gradient is not
    finite.
    """
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        for row in range(len(latents)):
            # Clones: tensors made under inference_mode take part in no gradient.
            x = latents[row : row + 1].clone().requires_grad_(True)
            condition = None if text is None else text[row : row + 1].clone()
            (score,) = torch.autograd.grad(log_likelihood(flow, x, condition).nats.sum(), x)
            rows.append((x + noise_std**2 * score).detach())
    clean = torch.cat(rows) if rows else latents
    if not torch.isfinite(clean).all():
        raise DrawingFailed("the denoising step gave latents that are not finite; try dtype float32")
    return clean
