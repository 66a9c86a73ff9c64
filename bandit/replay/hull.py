"""The hull of fixed arms: what mixing arms blindly earns at every mean cost, without looking at a prompt."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .table import Floats


def hull_at(costs: ArrayLike, qualities: ArrayLike, at: ArrayLike) -> Floats:
    """Best mean quality of any mix of arms with mean cost at most `at`. [..., M], [..., M], [...] -> [...]

    The upper concave envelope of the points (mean cost, mean quality), flat beyond its best arm. Below the cheapest
    arm, which nothing can undercut, it is the cheapest arm's quality.
    """
    cost, quality = np.asarray(costs, dtype=float), np.asarray(qualities, dtype=float)
    budget = np.maximum(np.asarray(at, dtype=float), cost.min(axis=-1))
    best = np.where(cost <= budget[..., None], quality, -np.inf).max(axis=-1)
    for low in range(cost.shape[-1]):
        for high in range(cost.shape[-1]):
            span = cost[..., high] - cost[..., low]
            between = (cost[..., low] <= budget) & (budget < cost[..., high])
            share = (budget - cost[..., low]) / np.where(between, span, 1.0)
            mixed = quality[..., low] + share * (quality[..., high] - quality[..., low])
            best = np.where(between, np.maximum(best, mixed), best)
    return best
