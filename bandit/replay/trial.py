"""What a run pays for: the caller's weights, or a ceiling on the mean cost of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.context import Weights

from .table import Floats, Table


@dataclass(frozen=True, slots=True)
class Trial:
    """With a ceiling, quality alone is worth anything, and the mean cost is to stay at the ceiling."""

    weights: Weights
    ceiling_usd: float | None = None

    @property
    def title(self) -> str:
        """As the report and the picture name it."""
        if self.ceiling_usd is not None:
            return f"quality at a mean cost of {self.ceiling_usd:.3g} USD"
        charged = [f"{self.weights.latency_per_s:.3g} × s"] if self.weights.latency_per_s else []
        charged += [f"{self.weights.cost_per_usd:.3g} × USD"] if self.weights.cost_per_usd else []
        return " − ".join(["quality", *charged])


def default_trials(table: Table) -> tuple[Trial, ...]:
    """Quality alone; and each of cost and latency at one weight.

    The weight is the one at which the best arm is worth its price over the cheapest and no more, to two digits: there a
    choice by prompt can earn the most over any fixed arm.
    """
    trials = [Trial(Weights())]
    for values, make in (
        (table.latency_s, lambda weight: Weights(latency_per_s=weight)),
        (table.cost_usd, lambda weight: Weights(cost_per_usd=weight)),
    ):
        weight = None if values is None else _even_weight(table.quality.mean(axis=0), values.mean(axis=0))
        if weight is not None:
            trials.append(Trial(make(weight)))
    return tuple(trials)


def _even_weight(quality: Floats, charge: Floats) -> float | None:
    best, cheapest = int(np.argmax(quality)), int(np.argmin(charge))
    if charge[best] <= charge[cheapest] or quality[best] <= quality[cheapest]:
        return None
    weight = float((quality[best] - quality[cheapest]) / (charge[best] - charge[cheapest]))
    return float(f"{weight:.1e}")
