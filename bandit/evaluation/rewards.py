"""What a round earned, as one number of a known range: the intervals need one that was fixed before outcomes were seen.

The range follows from what the contexts promise: at best perfect quality at no cost; at worst none, after MOST_SLOW
times the time that the slowest arm was expected to take, at the dearest arm's price. It is the widest of all contexts,
but at most MOST_WIDE times their 99th percentile: every interval is as wide as the range, and one caller with a weight
of 1e6 would leave nothing to be said of all others. Contexts alone decide, never outcomes. Rewards beyond are clipped,
and the report says how many, and of how many requests the contexts reach beyond.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from bandit.context import ArmContext, Context, Prediction, Record, Weights
from bandit.errors import CannotEvaluate
from bandit.latency import crowding
from bandit.utility import utility

KINDS = ("utility", "quality")
MOST_SLOW = 2.0
MOST_WIDE = 2.0  # times the 99th percentile
_PERCENTILE = 0.99
DOMINANT, RARE = 0.5, 0.25  # share of all that is at stake, of the requests


@dataclass(frozen=True, slots=True)
class Reward:
    """What is earned: the caller's utility, by the weights of each request, or the quality alone."""

    kind: str = "utility"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CannotEvaluate(f"reward is {self.kind!r}; allowed: {', '.join(KINDS)}")

    def of(self, record: Record) -> float:
        """As the record has it, not clipped. Raises ValueError if it is not finite."""
        if self.kind == "quality":
            return record.quality
        return utility(record.context.weights, record.quality, record.latency_s, record.cost_usd)

    def expected(self, prediction: Prediction) -> float | None:
        """As a policy predicts it; None where it does not."""
        return prediction.quality if self.kind == "quality" else prediction.utility


@dataclass(frozen=True, slots=True)
class Dominant:
    """Weights that few requests ask for and that hold most of what can be earned or lost."""

    weights: Weights
    requests: float  # share of the requests
    stakes: float  # share of what is at stake


@dataclass
class Range:
    """Grows over contexts, never over outcomes."""

    kind: str
    _worst: array[float] = field(default_factory=lambda: array("d"))  # a request each, as `_best` and `_asked`
    _best: array[float] = field(default_factory=lambda: array("d"))
    _asked: list[Weights] = field(default_factory=list)

    def include(self, context: Context, images: int) -> None:
        """One more request of this many images."""
        if self.kind == "quality":
            return
        self._worst.append(max(self._burden(context, arm, images) for arm in context.arms if arm.available))
        self._best.append(context.weights.quality)
        self._asked.append(context.weights)

    @staticmethod
    def _burden(context: Context, arm: ArmContext, images: int) -> float:
        seconds = MOST_SLOW * arm.service_s * crowding(arm) * images
        return context.weights.latency_per_s * seconds + context.weights.cost_per_usd * arm.price_usd

    def bounds(self) -> tuple[float, float]:
        """Low and high; a range of no width is widened, as then all rewards are alike."""
        if self.kind == "quality":
            return 0.0, 1.0
        low, high = -_widest(self._worst), _widest(self._best)
        return (low, high) if low < high else (low - 0.5, low + 0.5)

    def outlying(self) -> int:
        """Requests whose contexts reach beyond the bounds."""
        low, high = self.bounds()
        return int(((-np.array(self._worst) < low) | (np.array(self._best) > high)).sum())

    def dominant(self) -> Dominant | None:
        """The weights that are, if any: at stake is what a request can earn or lose within the bounds."""
        low, high = self.bounds()
        stakes: dict[Weights, float] = {}
        for worst, best, weights in zip(self._worst, self._best, self._asked, strict=True):
            stakes[weights] = stakes.get(weights, 0.0) + min(worst, -low) + min(best, high)
        total = sum(stakes.values())
        if len(stakes) < 2 or total <= 0:
            return None
        weights, most = max(stakes.items(), key=lambda one: one[1])
        requests = self._asked.count(weights) / len(self._asked)
        return Dominant(weights, requests, most / total) if most > DOMINANT * total and requests < RARE else None


def _widest(values: array[float]) -> float:
    usual = float(np.quantile(values, _PERCENTILE, method="higher"))
    return min(max(values), MOST_WIDE * usual)
