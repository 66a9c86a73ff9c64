"""One policy in the report: what the log says of it, or why it says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .estimators import Estimate, Valuation, value_of_probabilities
from .missing import missing_refusal
from .rounds import Rounds
from .support import Support, doubts, refusals, support_of


@dataclass(frozen=True, slots=True)
class Row:
    """One policy. `valuation` is None where the log cannot answer; `refusals` say why."""

    name: str
    support: Support
    valuation: Valuation | None
    refusals: tuple[str, ...]
    doubts: tuple[str, ...]


def row_of(name: str, rounds: Rounds, target: np.ndarray, alpha: float, least_effective: float) -> Row:
    propensity, arms = rounds.propensity, rounds.per_arm(target)
    chosen = target[np.arange(len(rounds.drawn)), rounds.drawn]
    weights = chosen / propensity
    support = support_of(weights, arms, rounds.names)
    lost = missing_refusal(rounds.by_arm)
    reasons = (() if lost is None else (lost,)) + refusals(support, name, least_effective)
    if reasons:
        return Row(name, support, None, reasons, ())
    valuation = value_of_probabilities(
        propensity, chosen, rounds.reward, alpha=alpha, low=rounds.low, high=rounds.high, arms=arms
    )
    return Row(name, support, valuation, (), doubts(weights, support, name))


def estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "interval": [estimate.interval.low, estimate.interval.high],
        "minus_log": estimate.difference,
        "minus_log_interval": [estimate.difference_interval.low, estimate.difference_interval.high],
    }


def row_json(row: Row) -> dict[str, Any]:
    valuation, support = row.valuation, row.support
    return {
        "name": row.name,
        "answered": valuation is not None,
        "refusals": list(row.refusals),
        "doubts": list(row.doubts),
        "ips": None if valuation is None else estimate_json(valuation.ips),
        "self_normalised": None if valuation is None else estimate_json(valuation.self_normalised),
        "doubly_robust": None if valuation is None else estimate_json(valuation.doubly_robust),
        "effective_rounds": support.effective_rounds,
        "largest_weight": support.largest_weight,
        "mean_weight": support.mean_weight,
        "unsupported": support.unsupported,
        "unsupported_arms": list(support.unsupported_arms),
    }
