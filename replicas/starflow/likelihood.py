"""How likely latents are under a flow: exact, in nats and in bits a dimension.

By the change of variables, log p(x) = log N(f(x); 0, 1) + Σ log|df/dx| (Dinh et al. 2015, arXiv:1410.8516, eq. 1), with
the normal's constant: a true density, comparable between flows of the same latents.

**Of what.** A flow is trained on latents with Gaussian noise of standard deviation `noise_std` added, so its density is
that of such noisy latents. The likelihood of a picture is therefore that of its mean latent plus noise drawn from a
given seed: one sample, reproducible by the seed. It says nothing of what the autoencoder loses, and is no likelihood
of pixels: do not compare it with bits a dimension of models of pixels or of another autoencoder's latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .model import StarFlow


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of B sets of latents."""

    nats: Tensor  # [B] float64, log p(x)
    dimensions: int  # values in one set of latents

    @property
    def bits_per_dimension(self) -> Tensor:
        """[B] float64, −log2 p(x) a value: less is likelier."""
        return -self.nats / (self.dimensions * math.log(2))


def log_likelihood(flow: StarFlow, latents: Tensor, text: Tensor | None = None) -> Likelihood:
    """Of latents [B, C, H, W], with the noise that the flow was trained on already added, given text states [B, L, D].

    Differentiable. Raises SizeNotPossible and ValueError where grid or text do not fit the flow's configuration.
    """
    encoded = flow(latents, text)
    z = encoded.z.double()  # a sum over thousands of values: in float32 it would lose the digits that tell two apart
    dimensions = latents[0].numel()
    log_normal = -0.5 * (z.square().flatten(1).sum(1) + dimensions * math.log(2 * math.pi))
    log_determinant = torch.stack([term.double().flatten(1).sum(1) for term in encoded.log_determinants]).sum(0)
    return Likelihood(log_normal + log_determinant, dimensions)
