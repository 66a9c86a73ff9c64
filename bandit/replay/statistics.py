"""Paired intervals over prompts and seeds at once.

The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)): prompts and seeds
are resampled independently of each other, and every quantity of every router is reckoned anew from the same draws, so
that differences are paired. Intervals are percentiles. It is conservative for means over both factors.
"""

from __future__ import annotations

import numpy as np

from bandit.confidence import Interval

from .table import Floats

REPLICATES = 1000
LEVEL = 0.95


class Resampling:
    """The draws that all routers of a trial share: weights of prompts [B, N] and of seeds [B, S]."""

    def __init__(self, seeds: int, prompts: int, seed: int = 0, replicates: int = REPLICATES) -> None:
        rng = np.random.default_rng(seed)
        # Poisson(1) stands for the multinomial of the bootstrap: the same to first order, and a tenth of the time.
        self._prompts = rng.poisson(1.0, (replicates, prompts)).astype(np.float32)
        self._seeds = rng.multinomial(seeds, [1 / seeds] * seeds, size=replicates).astype(np.float32)

    def means(self, values: Floats) -> Floats:
        """Replicated means [B] of values [S, N]; NaN: that prompt was not counted under that seed."""
        there = ~np.isnan(values)
        sums = self._prompts @ np.where(there, values, 0.0).T.astype(np.float32)  # [B, S]
        counts = self._prompts @ there.T.astype(np.float32)
        return (self._seeds * sums).sum(axis=1) / (self._seeds * counts).sum(axis=1)


def interval(replicates: Floats, level: float = LEVEL) -> Interval:
    """The middle `level` of the replicates."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(float(low), float(high))
