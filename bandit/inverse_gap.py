"""Inverse gap weighting: exploration from predicted utilities alone (SquareCB, Foster & Rakhlin 2020, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping


def inverse_gap_weighting(utilities: Mapping[str, float], gamma: float) -> dict[str, float]:
    """p(a) = 1 / (k + gamma * (best - utility(a))) for all but the best arm, which takes the rest.

    `gamma` >= 0 is in 1 / utility: 0 is uniform, infinity greedy. The first of several best arms is the best.
    """
    best = max(utilities, key=lambda arm: utilities[arm])
    k = len(utilities)
    probabilities = {arm: 1 / (k + gamma * (utilities[best] - worth)) for arm, worth in utilities.items()}
    probabilities[best] = 1.0 - sum(probability for arm, probability in probabilities.items() if arm != best)
    return probabilities
