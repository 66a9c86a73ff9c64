"""Anytime-valid intervals for quantiles, by order statistics alone: no density, no moments.

Howard & Ramdas 2022, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"
(Bernoulli 28(3)), with the closed form that they give for the radius:

    f(p) = 1.5 sqrt(p (1 - p) l) + 0.8 l,   l = (1.4 log log(2.1 n) + log(10 / alpha)) / n

and with probability at least 1 - alpha, at every n at once, the p-quantile is between the sample's quantiles of
p - f(1 - p) and p + f(p). Values of one unit hang together, so n is the number of units: wider than need be where they
do not, true where a unit's are all the same.
"""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np

from bandit.confidence import LEAST_COUNT, Interval


def quantile(ordered: np.ndarray, p: float) -> float | None:
    """Of ascending values; None if there are none."""
    return None if not len(ordered) else float(ordered[min(int(p * len(ordered)), len(ordered) - 1)])


def quantile_interval(ordered: np.ndarray, p: float, alpha: float, units: int) -> Interval:
    """Of the p-quantile, from ascending values of so many units."""
    if units < LEAST_COUNT:
        return Interval(-inf, inf)
    margin = (1.4 * log(log(2.1 * units)) + log(10.0 / alpha)) / units
    radius = 1.5 * sqrt(p * (1.0 - p) * margin) + 0.8 * margin
    count = len(ordered)
    low, high = int(np.floor((p - radius) * count)), int(np.ceil((p + radius) * count))
    return Interval(
        -inf if low < 0 else float(ordered[low]),
        inf if high >= count else float(ordered[high]),
    )


def quantile_difference(
    treatment: np.ndarray, control: np.ndarray, p: float, alpha: float, *, units: tuple[int, int], factor: float = 1.0
) -> Interval:
    """Of the treatment's quantile minus `factor` times the control's: each side gets half of alpha."""
    own = quantile_interval(treatment, p, alpha / 2, units[0])
    other = quantile_interval(control, p, alpha / 2, units[1])
    return Interval(own.low - factor * other.high, own.high - factor * other.low)
