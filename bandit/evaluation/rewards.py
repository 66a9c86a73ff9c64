"""What a round earned, as one number of a known range: the intervals need one that was fixed before outcomes were seen.

The range follows from what the contexts promise: at best perfect quality at no cost; at worst none, after MOST_SLOW
times the time that the slowest arm was expected to take, at the dearest arm's price. Rewards beyond are clipped,
and the report says how many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from bandit.context import ArmContext, Context, Prediction, Record
from bandit.errors import CannotEvaluate
from bandit.latency import crowding
from bandit.utility import utility

KINDS = ("utility", "quality")
MOST_SLOW = 2.0


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


@dataclass
class Range:
    """Grows over contexts, never over outcomes."""

    kind: str
    low: float = field(default=inf)
    high: float = field(default=-inf)

    def include(self, context: Context, images: int) -> None:
        """One more request of this many images."""
        if self.kind == "quality":
            self.low, self.high = 0.0, 1.0
            return
        weights = context.weights
        worst = max(self._burden(context, arm, images) for arm in context.arms if arm.available)
        self.low, self.high = min(self.low, -worst), max(self.high, weights.quality)

    @staticmethod
    def _burden(context: Context, arm: ArmContext, images: int) -> float:
        seconds = MOST_SLOW * arm.service_s * crowding(arm) * images
        return context.weights.latency_per_s * seconds + context.weights.cost_per_usd * arm.price_usd

    def bounds(self) -> tuple[float, float]:
        """Low and high; a range of no width is widened, as then all rewards are alike."""
        return (self.low, self.high) if self.low < self.high else (self.low - 0.5, self.low + 0.5)
