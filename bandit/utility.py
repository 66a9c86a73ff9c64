"""What an outcome is worth to its caller: U = w.quality * q - w.latency_per_s * seconds - w.cost_per_usd * USD.

The one place where quality, time and money become one number. Learned values never enter here as weights, so weights
may differ in every request without anything being learned anew.
"""

from __future__ import annotations

from math import isfinite

from .context import Weights


def utility(weights: Weights, quality: float, latency_s: float, cost_usd: float) -> float:
    """Utility of one image. Raises ValueError if any input, or the result, is not finite."""
    worth = weights.quality * quality - weights.latency_per_s * latency_s - weights.cost_per_usd * cost_usd
    if not isfinite(worth):
        raise ValueError(
            f"utility of {weights} at quality {quality!r}, latency_s {latency_s!r}, cost_usd {cost_usd!r} "
            f"is {worth!r}; all of them must be finite"
        )
    return worth


def vw_cost(worth: float) -> float:
    """Utility as a cost that Vowpal Wabbit may see: clip((1 - U) / 2, 0, 1). Raises ValueError if U is not finite."""
    if not isfinite(worth):
        raise ValueError(f"utility {worth!r} is not finite; it would make the model NaN for good")
    return min(max((1.0 - worth) / 2.0, 0.0), 1.0)
