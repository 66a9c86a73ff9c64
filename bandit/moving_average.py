"""The arm whose utility has been best of late: an exponential moving average per arm, and a floor.

Averages are of quality and of latency, and the utility is composed from them with the caller's weights; for one kind
of caller that is the average of the utility itself, as an average is linear in what it averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .arm_means import ArmMeans
from .composed_policy import ComposedOptions, ComposedPolicy, all_on_best


@dataclass(frozen=True, slots=True)
class MovingAverageOptions(ComposedOptions):
    """Options of `moving_average`."""

    quality_share: float = 0.02  # of one new quality in the average; what is older than 1 / share images fades


class MovingAveragePolicy(ComposedPolicy):
    """Greedy on averages that follow an arm that changes."""

    name = "moving_average"

    def __init__(self, options: MovingAverageOptions | None = None) -> None:
        self.options = options or MovingAverageOptions()
        super().__init__(self.options, ArmMeans(self.options.quality_share))

    def _shares(self, worths: Sequence[float], doubts: Sequence[float], rng: Random) -> Sequence[float]:
        return all_on_best(worths)
