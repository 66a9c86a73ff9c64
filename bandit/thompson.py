"""Linear Thompson sampling: each arm as often as its quality would be best, were the posterior the truth.

Agrawal & Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs", Algorithm 1, with one regression
per arm: theta ~ N(theta_hat, scale^2 A^-1). Of theta only x' theta matters, which is N(x' theta_hat, scale^2 x' A^-1 x)
and independent between arms, so normals of that width are drawn instead of vectors.

One draw would decide, but how probable it was would not be known. So a fixed number of draws estimates how often each
arm wins, and the estimate itself, mixed with the floor, is what is drawn from and logged: given the seed, the
propensity is exact, however rough the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, cast

import numpy as np

from .composed_policy import ComposedOptions, ComposedPolicy
from .linear_arms import LinearArms


@dataclass(frozen=True, slots=True)
class ThompsonOptions(ComposedOptions):
    """Options of `thompson`."""

    posterior_scale: float = 0.1  # standard deviation of one quality around its mean, as the posterior believes
    draws: int = 256  # of the posterior, per decision
    ridge: float = 3.0  # of each arm's regression; what is not seen stays at its prior
    buckets: int = 64  # that the prompt's words share

    only_decide: ClassVar[frozenset[str]] = frozenset({"floor", "posterior_scale", "draws"})


class ThompsonPolicy(ComposedPolicy):
    """Probability matching on the quality of each arm for this prompt."""

    name = "thompson"

    def __init__(self, options: ThompsonOptions | None = None) -> None:
        self.options = options or ThompsonOptions()
        super().__init__(self.options, LinearArms(self.options.ridge, self.options.buckets))

    def _shares(self, worths: Sequence[float], doubts: Sequence[float], rng: Random) -> Sequence[float]:
        widths = [self.options.posterior_scale * doubt for doubt in doubts]
        return win_probabilities(worths, widths, self.options.draws, rng.getrandbits(64))


def win_probabilities(means: Sequence[float], widths: Sequence[float], draws: int, seed: int) -> list[float]:
    """How often each of independent normals is the largest, in `draws` draws of all of them."""
    normals = np.random.Generator(np.random.PCG64(seed)).standard_normal((draws, len(means)))
    winners = (normals * widths + means).argmax(axis=1)
    return cast("list[float]", (np.bincount(winners, minlength=len(means)) / draws).tolist())
