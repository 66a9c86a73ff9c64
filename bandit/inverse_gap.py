"""Inverse gap weighting: exploration from predicted utilities alone (SquareCB, Foster & Rakhlin 2020, Algorithm 1).

    p(a) = 1 / (k + gamma(a) * (best - utility(a)))   for all but the best arm, which takes the rest

`gamma` >= 0 is in 1 / utility: 0 is uniform, infinity greedy. The paper has one gamma for all arms. Here each may have
its own, so that an arm that came later is explored as the others were when they came; probabilities still sum to 1,
since none but the best arm's is above 1 / k.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def inverse_gap_weighting(utilities: Mapping[str, float], gammas: Mapping[str, float]) -> dict[str, float]:
    """Probability per arm; the first of several best arms is the best."""
    best = max(utilities, key=lambda arm: utilities[arm])
    k, most = len(utilities), utilities[best]
    probabilities = {arm: 1 / (k + gammas[arm] * (most - worth)) for arm, worth in utilities.items() if arm != best}
    return {best: 1.0 - sum(probabilities.values()), **probabilities}


def inverse_gap_rows(utilities: NDArray[np.float64], gammas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for many decisions at once: utilities [N, K], -inf where an arm is not there; gammas [K]; [N, K]."""
    rows = np.arange(len(utilities))
    best = utilities.argmax(axis=1)
    there = np.isfinite(utilities)
    gaps = np.where(there, utilities[rows, best][:, None] - utilities, 0.0)
    probabilities = np.where(there, 1 / (there.sum(axis=1)[:, None] + gammas * gaps), 0.0)
    probabilities[rows, best] = 0.0
    probabilities[rows, best] = 1.0 - probabilities.sum(axis=1)
    return probabilities
