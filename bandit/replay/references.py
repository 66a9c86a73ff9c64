"""The lines that every policy stands beside, each as probabilities [N, M] over the models of every prompt.

Uniform; the best fixed arm, known in hindsight; a choice by full-information regression on the same features; and the
oracle, which knows every prompt's outcomes beforehand. The hull of fixed arms is a curve and lives in `hull`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.context import Weights

from .regression import predict_unseen
from .table import Floats, Rows, Table

UNIFORM, BEST_FIXED = "uniform reference", "best fixed arm"
REGRESSION, ORACLE = "full-information regression", "oracle"
BISECTIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """What the regression expects of every prompt and model. [N, M] each; None where the table has none."""

    quality: Floats
    cost_usd: Floats | None
    latency_s: Floats | None

    def worth(self, weights: Weights) -> Floats:
        """Expected utility. [N, M]"""
        worth = weights.quality * self.quality
        if self.cost_usd is not None:
            worth = worth - weights.cost_per_usd * self.cost_usd
        if self.latency_s is not None:
            worth = worth - weights.latency_per_s * self.latency_s
        return worth


def foresee(table: Table, inputs: Floats) -> Foreseen:
    """`inputs` [N, D] of `regression.design`. Cost is expected per prompt too, where it differs between prompts."""

    def expected(values: Floats | None) -> Floats | None:
        if values is None:
            return None
        if (np.ptp(values, axis=0) == 0).all():
            return values
        return np.maximum(predict_unseen(inputs, values, table.first_part), 0.0)

    quality = predict_unseen(inputs, table.quality, table.first_part)
    return Foreseen(quality, expected(table.cost_usd), expected(table.latency_s))


def always(model: int, shape: tuple[int, ...]) -> Floats:
    """One arm for every prompt."""
    chances = np.zeros(shape)
    chances[:, model] = 1.0
    return chances


def uniform(shape: tuple[int, ...]) -> Floats:
    """All arms alike."""
    return np.full(shape, 1.0 / shape[1])


def greedy(worth: Floats) -> Floats:
    """The arm of most worth, for every prompt; the first of several."""
    chances = np.zeros(worth.shape)
    chances[np.arange(len(worth)), np.argmax(worth, axis=1)] = 1.0
    return chances


def greedy_within(ceiling_usd: float, quality: Floats, expected_usd: Floats, true_usd: Floats, counted: Rows) -> Floats:
    """The best choice by quality less a price on cost, the price such that the mean true cost is the ceiling.

    A price just too low and one just too high are mixed, so that the ceiling is met exactly. Where the ceiling binds
    at no price, price zero.
    """

    def mean_cost(chances: Floats) -> float:
        return float((chances * true_usd)[counted].sum(axis=1).mean())

    dear, thrifty = 0.0, 1.0 / max(float(expected_usd.mean()), 1e-12)
    if mean_cost(greedy(quality)) <= ceiling_usd:
        return greedy(quality)
    while mean_cost(greedy(quality - thrifty * expected_usd)) > ceiling_usd and thrifty < 1e12:
        thrifty *= 4
    for _ in range(BISECTIONS):
        middle = (dear + thrifty) / 2
        if mean_cost(greedy(quality - middle * expected_usd)) > ceiling_usd:
            dear = middle
        else:
            thrifty = middle
    above, below = greedy(quality - dear * expected_usd), greedy(quality - thrifty * expected_usd)
    high, low = mean_cost(above), mean_cost(below)
    share = 0.0 if high <= low else min(max((ceiling_usd - low) / (high - low), 0.0), 1.0)
    return share * above + (1 - share) * below
