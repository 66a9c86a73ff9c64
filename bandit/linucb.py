"""LinUCB: the arm whose quality could be best, by a regression on the prompt and the width of its doubt.

Li, Chu, Langford, Schapire 2010, Algorithm 1 (disjoint): theta' x + alpha * sqrt(x' A^-1 x), here of quality, with time
and money taken off as they are known. The algorithm itself is deterministic, which would leave a log that judges
nothing; the floor is mixed in, so each propensity is (1 - floor) * [is best] + floor / k, exactly. Gateways that share
a snapshot all take the same best arm for the same prompt until the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from .composed_policy import ComposedOptions, ComposedPolicy, all_on_best
from .linear_arms import LinearArms


@dataclass(frozen=True, slots=True)
class LinUcbOptions(ComposedOptions):
    """Options of `linucb`."""

    alpha: float = 0.2  # widths added to the expected quality
    ridge: float = 3.0  # of each arm's regression; what is not seen stays at its prior
    buckets: int = 64  # that the prompt's words share

    only_decide: ClassVar[frozenset[str]] = frozenset({"floor", "alpha"})


class LinUcbPolicy(ComposedPolicy):
    """Optimism on the quality of each arm for this prompt."""

    name = "linucb"

    def __init__(self, options: LinUcbOptions | None = None) -> None:
        self.options = options or LinUcbOptions()
        super().__init__(self.options, LinearArms(self.options.ridge, self.options.buckets))

    def _shares(self, worths: Sequence[float], doubts: Sequence[float], rng: Random) -> Sequence[float]:
        alpha = self.options.alpha
        return all_on_best([worth + alpha * doubt for worth, doubt in zip(worths, doubts, strict=True)])
