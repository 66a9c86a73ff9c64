"""Intervals for a mean that hold at every look at once: whoever watches an experiment may stop when he likes.

A plain interval misses the mean at one look in twenty; of thirty looks, at one or more in three runs of ten. These do
so at one or more of *all* looks in at most `alpha` of the runs.

`mean_interval` and `difference_interval` take unbounded values by their moments, O(1) a look, and are asymptotic: exact
as counts grow, not at the first look. `bounded_mean_interval` is exact at every count, for values of a known range.

How far from exact, at alpha 0.05, looking at every count from 30 to 2,000, in 2,000 runs each (2026-11-22): the mean of
normal values is missed in 4 % of the runs, of exponential ones in 6 %, of rare events (one in twenty) in 10 %, of rare
large values in 10 %, of lognormal ones in 12 %. Differences at an even split were missed in at most 4.6 % for all of
these, as equal skews cancel; where the smaller side gets a tenth, in up to 11 %. So compare variants by their
difference, split evenly where values are skewed, and take `bounded_mean_interval` for a rate that stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt

import numpy as np

LEAST_COUNT = 30  # below, a variance is too poorly known for the asymptotics to say anything
_LARGEST_BET = 0.5  # c of WSR 2023, Eq. (15): keeps 1 - lambda away from 0


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, both included; infinite ends while nothing is known."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """`inf` while nothing is known."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Moments:
    """What a mean and its interval need of any number of values."""

    count: int
    mean: float
    m2: float  # sum of squared deviations from the mean

    @classmethod
    def of(cls, values: Iterable[float]) -> Moments:
        """Raises ValueError if a value is not finite: one of those would hide all others for good."""
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
        if not len(array):
            return cls(0, 0.0, 0.0)
        if not np.isfinite(array).all():
            bad = float(array[~np.isfinite(array)][0])
            raise ValueError(f"value {bad!r} is not finite; leave such values out and count them")
        mean = float(array.mean())
        return cls(len(array), mean, float(((array - mean) ** 2).sum()))

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of values together (Chan, Golub & LeVeque 1979, Eq. 2.1)."""
        count = self.count + other.count
        if not (self.count and other.count):
            return self if self.count else other
        gap = other.mean - self.mean
        mean = self.mean + gap * other.count / count
        return Moments(count, mean, self.m2 + other.m2 + gap * gap * self.count * other.count / count)

    @property
    def variance(self) -> float:
        """The sample's, 0.0 below two values."""
        return self.m2 / (self.count - 1) if self.count > 1 else 0.0


def mean_interval(
    moments: Moments, alpha: float, *, tuned_at: int = 500, single_variance: float | None = None
) -> Interval:
    """An asymptotic confidence sequence for the mean, narrowest around `tuned_at` values.

    `single_variance`: where the values are means themselves, of ever more single ones (a user who keeps asking), the
    variance of a single one; see `difference_interval`. Infinite below LEAST_COUNT values and while all of them are
    equal, as then nothing is known of their spread. Raises ValueError if alpha or tuned_at is out of range.
    """
    check_alpha(alpha)
    if moments.count < LEAST_COUNT or moments.variance <= 0:
        return Interval(-inf, inf)
    if single_variance is not None and single_variance <= 0:
        return Interval(-inf, inf)
    error2 = moments.variance / moments.count
    time = moments.count if single_variance is None else single_variance / error2
    half = sqrt(error2) * _boundary(time, alpha, tuned_at)
    return Interval(moments.mean - half, moments.mean + half)


def difference_interval(
    treatment: Moments,
    control: Moments,
    alpha: float,
    *,
    tuned_at: int = 500,
    single_variances: tuple[float, float] | None = None,
) -> Interval:
    """The same for mean(treatment) - mean(control) of independent samples; `tuned_at` counts the values of both.

    Time is information: 4 / (1/n + 1/m), which is n + m at an even split. So the looks are those of one Brownian
    motion also while the split is ramped up (Jennison & Turnbull 1997, canonical joint distribution), as long as the
    two means stay what they are.

    Where values keep moving, as each is the mean of what one user has had so far, counts stand still while the
    difference does not. Its information is one over its squared standard error, here times the mean of the
    `single_variances` of a single request (treatment's, control's) and 4: as many requests as would tell as much if
    each came from another user, so n + m where each does. That scale only has to be the same at every look.
    """
    check_alpha(alpha)
    if min(treatment.count, control.count) < LEAST_COUNT or min(treatment.variance, control.variance) <= 0:
        return Interval(-inf, inf)
    if single_variances is not None and sum(single_variances) <= 0:
        return Interval(-inf, inf)
    error2 = treatment.variance / treatment.count + control.variance / control.count
    if single_variances is None:
        information = 4.0 / (1.0 / treatment.count + 1.0 / control.count)
    else:
        information = 2.0 * sum(single_variances) / error2
    half, difference = sqrt(error2) * _boundary(information, alpha, tuned_at), treatment.mean - control.mean
    return Interval(difference - half, difference + half)


def bounded_mean_interval(
    values: Sequence[float] | np.ndarray, alpha: float, *, low: float = 0.0, high: float = 1.0
) -> Interval:
    """For the mean of values in [low, high], in the order in which they came; exact at every count.

    Predictable plug-in empirical Bernstein (Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables
    by betting", Theorem 2 with Eq. 14 and 15), intersected over all looks so far. Where that is empty, the mean was not
    constant, and the answer is the last look's alone. Raises ValueError on values outside, or bounds that are none.
    """
    check_alpha(alpha)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"bounds are {low!r} and {high!r}; both must be finite, and low below high")
    raw = np.asarray(values, dtype=np.float64)
    if not len(raw):
        return Interval(low, high)
    inside = (raw >= low) & (raw <= high)
    if not inside.all():
        raise ValueError(f"value {float(raw[~inside][0])!r} is outside {low!r} to {high!r}")
    x = (raw - low) / (high - low)
    looks = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (looks + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (looks + 1)
    means_before = np.concatenate(([0.5], means[:-1]))
    variances_before = np.concatenate(([0.25], variances[:-1]))
    budget = log(2.0 / alpha)
    bets = np.minimum(np.sqrt(2.0 * budget / (variances_before * looks * np.log(1.0 + looks))), _LARGEST_BET)
    penalty = 4.0 * (x - means_before) ** 2 * (-np.log1p(-bets) - bets) / 4.0
    total = np.cumsum(bets)
    centre, half = np.cumsum(bets * x) / total, (budget + np.cumsum(penalty)) / total
    lower, upper = max(float((centre - half).max()), 0.0), min(float((centre + half).min()), 1.0)
    if lower > upper:
        lower, upper = max(float(centre[-1] - half[-1]), 0.0), min(float(centre[-1] + half[-1]), 1.0)
    return Interval(low + lower * (high - low), low + upper * (high - low))


def check_alpha(alpha: float) -> None:
    """Raises ValueError unless 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}; allowed: above 0 and below 1, such as 0.05")


def _boundary(count: float, alpha: float, tuned_at: float) -> float:
    """Half width in standard errors: the Gaussian mixture boundary.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence
    sequences", Theorem 2.2; rho by their Appendix B.2, which makes it nearly as narrow as can be at `tuned_at`.
    """
    if not tuned_at >= 1:
        raise ValueError(f"tuned_at is {tuned_at!r}; allowed: 1 or more values")
    rho2 = (-2.0 * log(alpha) + log(-2.0 * log(alpha) + 1.0)) / tuned_at
    time = count * rho2
    return sqrt(2.0 * (time + 1.0) / time * log(sqrt(time + 1.0) / alpha))
