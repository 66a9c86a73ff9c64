"""What the router will send to a tier soon: a rate and its trend from requests counted as they are routed. Pure.

The router counts, for every arrival, the probability that its policy gave the tier: the expected demand, known before
any queue forms and steadier than the requests that were drawn. A forecast is Brown's linear exponential smoothing
(R. G. Brown 1959): one running mean over `fast_s`, one over `slow_s`; the trend is the difference of the two over the
difference of their ages. What counting noise explains of a rise is no trend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ImpossibleContext

_LEAST_S = 1e-3  # between two counts: a clock that stood still or went back says nothing of the rate


@dataclass(frozen=True, slots=True)
class ForecastRule:
    """How quickly a forecast follows. Raises ImpossibleContext for figures that cannot be."""

    fast_s: float = 10.0  # age of the mean that is the level
    slow_s: float = 40.0
    least_deviations: float = 1.5  # of counting noise, which are taken off a rise
    most_growth: float = 1.5  # times the level, however steep the rise: a step is not the start of a ramp

    def __post_init__(self) -> None:
        if not 0 < self.fast_s < self.slow_s < math.inf:
            raise ImpossibleContext(f"fast_s {self.fast_s!r} and slow_s {self.slow_s!r} must be above 0 and in order")
        if not 0 <= self.least_deviations < math.inf or not 1 <= self.most_growth < math.inf:
            raise ImpossibleContext(
                f"least_deviations is {self.least_deviations!r}, most_growth {self.most_growth!r}; they must be "
                "finite, and at least 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was counted so far: two means of one rate, and the time that they have seen."""

    at_s: float  # until when
    fast_per_s: float = 0.0
    slow_per_s: float = 0.0
    fast_weight: float = 0.0  # share of a mean that observations fill; the rest is the time before the first
    slow_weight: float = 0.0

    def after(self, now_s: float, requests: float, rule: ForecastRule) -> Forecast:
        """With `requests` more (a sum of probabilities) between `at_s` and `now_s`. Raises ImpossibleContext."""
        if not (math.isfinite(now_s) and 0 <= requests < math.inf):
            raise ImpossibleContext(f"now_s is {now_s!r}, requests {requests!r}; both must be finite, requests >= 0")
        elapsed_s = max(now_s - self.at_s, _LEAST_S)
        fast, slow = -math.expm1(-elapsed_s / rule.fast_s), -math.expm1(-elapsed_s / rule.slow_s)
        per_s = requests / elapsed_s
        return Forecast(
            at_s=self.at_s + elapsed_s,
            fast_per_s=self.fast_per_s + fast * (per_s - self.fast_per_s),
            slow_per_s=self.slow_per_s + slow * (per_s - self.slow_per_s),
            fast_weight=self.fast_weight + fast * (1.0 - self.fast_weight),
            slow_weight=self.slow_weight + slow * (1.0 - self.slow_weight),
        )

    def rate_per_s(self, horizon_s: float, rule: ForecastRule) -> float:
        """Requests/s expected `horizon_s` after `at_s`: the level, and where demand rises, what the rise adds."""
        if self.fast_weight == 0:
            return 0.0
        fast, slow = self.fast_per_s / self.fast_weight, self.slow_per_s / self.slow_weight
        # Of Poisson arrivals of rate r: the variance of a mean of age T is r / (2 T), the covariance r / (T + T').
        share = 1 / (2 * rule.fast_s) + 1 / (2 * rule.slow_s) - 2 / (rule.fast_s + rule.slow_s)
        noise = math.sqrt(slow * share)
        rise = max(0.0, fast - slow - rule.least_deviations * noise)
        trend_per_s2 = rise / (rule.slow_s - rule.fast_s)
        return min(fast + trend_per_s2 * (rule.fast_s + horizon_s), rule.most_growth * fast)
