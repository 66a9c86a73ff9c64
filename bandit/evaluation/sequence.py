"""A lower bound of a mean that holds at every look at once, for values without an upper bound.

That is what importance weighting makes of rewards in [0, 1]: never below zero, and as large as one over the smallest
propensity. No bound of the weights enters here; the upper bound of a value is one minus the lower bound of what is
missing to the best reward.

With Y the values scaled so that they are at least 0, c a guess in [0, 1] made from earlier values, S the sum of
Y - E[Y | past] and V the sum of (Y - c)^2, for every l in [0, 1)

    exp(l * S - (-log(1 - l) - l) * V)

is a supermartingale (Fan, Grama & Liu 2015, "Exponential inequalities for martingales with applications"; for
off-policy values Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro 2024, "Anytime-valid off-policy inference for
contextual bandits", Section 3), and so is a mean of such over a grid of l. By Ville's inequality it passes 1 / alpha at
any look with probability alpha at most. Means may move, and be above 1: what is bounded is the average of the means so
far. (exp(l * x + (log(1 - l) + l) * x^2) <= 1 + l * x wherever x >= -1, and Y - c is never less.)
"""

from __future__ import annotations

from math import log

import numpy as np

# l from 0.8 down in steps of 1.5: the best l for n values is about sqrt(2 log(1 / alpha) / V), so this serves V up to
# about 1e8, and the nearest l of a grid this coarse is nearly as good as the best.
_RATES = 0.8 * 1.5 ** -np.arange(20.0)
_COSTS = -np.log1p(-_RATES) - _RATES


def lower_mean(values: np.ndarray, alpha: float, *, floor: float = 0.0, ceiling: float = 1.0) -> float:
    """The lower end, at least `floor`, of the mean of all `values`, in the order in which they came.

    `ceiling` gives the scale: the interval is narrowest where means lie between both, and holds above it too. Raises
    ValueError if a value is below `floor` or not finite.
    """
    scale = ceiling - floor
    if not len(values):
        return floor
    scaled = (np.asarray(values, dtype=np.float64) - floor) / scale
    lowest = float(scaled.min())
    if not lowest >= -1e-9 or not np.isfinite(scaled).all():
        raise ValueError(f"a value is {floor + lowest * scale!r}; allowed: finite, {floor!r} and above")
    total = np.cumsum(scaled)
    guesses = np.empty(len(scaled))
    guesses[0] = 0.5
    guesses[1:] = np.minimum((0.5 + total[:-1]) / np.arange(2, len(scaled) + 1), 1.0)
    spread = float(((scaled - guesses) ** 2).sum())
    mean = (float(total[-1]) - _passed_at(spread, alpha)) / len(scaled)
    return floor + scale * max(mean, 0.0)


def _passed_at(spread: float, alpha: float) -> float:
    """The sum S at which the mixture is 1 / alpha, from above: Newton's steps on a convex, growing function."""
    budget = log(len(_RATES) / alpha)
    total = float(((budget + _COSTS * spread) / _RATES).min())  # one l alone passes here, so the mixture has passed
    for _ in range(100):
        exponents = _RATES * total - _COSTS * spread
        largest = float(exponents.max())
        shares = np.exp(exponents - largest)
        step = (largest + log(float(shares.sum())) - budget) / float((_RATES * shares).sum() / shares.sum())
        total -= step
        if step <= 1e-9 * max(1.0, total):
            break
    return total
