"""What one router, or reference, made of the rounds that count: plain values for table, JSON and picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bandit.confidence import Interval


@dataclass(frozen=True, slots=True)
class Line:
    """Means over the probabilities of each round; `drawn_` values over what was drawn. Intervals are paired, 95 %."""

    name: str
    kind: str  # "reference" | "policy" | "peer"
    quality: float
    cost_usd: float | None
    latency_s: float | None
    utility: float
    drawn_utility: float
    drawn_cost_usd: float | None
    over_best_fixed: float  # utility less that of the best fixed arm, known in hindsight
    over_best_fixed_interval: Interval
    over_best_fixed_percent: float | None  # of the best fixed arm's utility; None where that is about zero
    hull_quality: float | None  # of the fixed arms, at this line's mean charge
    over_hull: float | None  # quality less the hull's at the same mean charge
    over_hull_interval: Interval | None
    off_ceiling_percent: float | None  # of the drawn cost, mean of all seeds; None without a ceiling
    off_ceiling_mean_absolute_percent: float | None  # of each seed's drawn cost: above and below do not cancel
    off_ceiling_largest_percent: float | None  # of the seed that is farthest off, above or below
    arm_shares: Mapping[str, float]
    share_of_oracle: float | None = None  # of what the oracle gains over the best fixed arm (under a ceiling: the hull)
    share_of_regression: float | None = None  # the same, of what the full-information regression gains


@dataclass(frozen=True, slots=True)
class FixedArm:
    """One model for every prompt."""

    quality: float
    cost_usd: float | None
    latency_s: float | None
    utility: float
