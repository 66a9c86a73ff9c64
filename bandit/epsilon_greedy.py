"""Epsilon-greedy on running means: the baseline that learns which arm is best on the whole, and never for whom.

The means are over all that was ever learned (Sutton & Barto 2018, section 2.4), so it is slow to see an arm change;
`moving_average` is the same with a memory that fades. Epsilon is the exploration floor, which every policy has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .arm_means import ArmMeans
from .composed_policy import ComposedOptions, ComposedPolicy, all_on_best


@dataclass(frozen=True, slots=True)
class EpsilonGreedyOptions(ComposedOptions):
    """Options of `epsilon_greedy`; `floor` is its epsilon."""


class EpsilonGreedyPolicy(ComposedPolicy):
    """The arm of the best mean but for a share of uniform draws."""

    name = "epsilon_greedy"

    def __init__(self, options: EpsilonGreedyOptions | None = None) -> None:
        self.options = options or EpsilonGreedyOptions()
        super().__init__(self.options, ArmMeans(0.0))

    def _shares(self, worths: Sequence[float], doubts: Sequence[float], rng: Random) -> Sequence[float]:
        return all_on_best(worths)
