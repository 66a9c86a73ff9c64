"""Classifier-free guidance of a Gaussian step, as the released sampler does it."""

from __future__ import annotations

from torch import Tensor


def guided(
    mean: Tensor, scale: Tensor, mean_empty: Tensor, scale_empty: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Mean and scale of the density p(x|text)^(1+w) / p(x)^w, both Gaussian (Gu et al. 2025, section 3.4).

    The product of Gaussians has precision (1 + w)/σ² − w/σ_e²; with s = min(σ/σ_e, 1)² it stays positive where the
    text makes the step less certain than no text does. All tensors [B, t, C]; weight w >= 0, 0 gives the conditional.
    """
    s = (scale / scale_empty).clamp(max=1.0).square()
    precision = 1 + weight - weight * s  # in units of 1 / scale²
    return ((1 + weight) * mean - weight * s * mean_empty) / precision, scale * precision.rsqrt()
