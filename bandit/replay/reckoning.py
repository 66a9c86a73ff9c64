"""Probabilities of every prompt -> what they were worth, with intervals. One `Reckoning` per trial, for all lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .hull import hull_at
from .line import FixedArm, Line
from .run import Replay, order_of
from .statistics import Resampling, interval
from .table import Floats, Rows, Table
from .trial import Trial


def counted_rows(table: Table, seeds: int, count_from: int) -> Rows:
    """Prompts that are counted, per seed: those of the later rounds, or the part that the table says. [S, N]"""
    counted = np.zeros((seeds, len(table.prompts)), dtype=bool)
    start = count_from if table.first_part is None else int(table.first_part.sum())
    for seed in range(seeds):
        counted[seed, order_of(table, seed)[start:]] = True
    return counted


def by_row(table: Table, replays: Sequence[Replay]) -> tuple[Floats, Floats]:
    """Probabilities and draws in the table's order. [S, N, M] each."""
    expected = np.zeros((len(replays), *table.quality.shape))
    drawn = np.zeros_like(expected)
    for seed, one in enumerate(replays):
        expected[seed, one.order] = one.probabilities
        drawn[seed, one.order, one.drawn] = 1.0
    return expected, drawn


class Reckoning:
    """Raises BadTable if the trial charges what the table does not have."""

    def __init__(self, table: Table, trial: Trial, counted: Rows, resampling: Resampling) -> None:
        self.table, self.trial, self.counted = table, trial, counted
        self.worth = table.worth(trial.weights)
        self._resampling = resampling
        self.charge, self._charged = _charge(table, trial)
        self.fixed = {model: self._fixed_arm(column) for column, model in enumerate(table.models)}
        self.best_fixed = max(self._affordable(), key=lambda model: self.fixed[model].utility)
        self._best_worth = self._column(self.worth, table.models.index(self.best_fixed))
        self._points, self._point_replicates = self._hull_points()

    def line(self, name: str, kind: str, expected: Floats, drawn: Floats) -> Line:
        """From probabilities and draws, [N, M] for a reference, else [S, N, M]."""
        table, ceiling_usd = self.table, self.trial.ceiling_usd
        quality, utility = self._spread(expected, table.quality), self._spread(expected, self.worth)
        over_best = utility - self._best_worth
        hull_quality = over_hull = over_hull_interval = None
        if self._charged is not None:
            spent = self._spread(expected, self._charged)
            hull_quality = float(hull_at(self._points[0], self._points[1], np.nanmean(spent)))
            over_hull = _mean(quality) - hull_quality
            costs, qualities = self._point_replicates
            spent_replicates = self._resampling.means(spent)
            beyond: Floats = self._resampling.means(quality) - hull_at(costs, qualities, spent_replicates)
            over_hull_interval = interval(beyond)
        drawn_usd = None if table.cost_usd is None else self._spread(drawn, table.cost_usd)
        off_percent = None if ceiling_usd is None or drawn_usd is None else _off_percent(drawn_usd, ceiling_usd)
        return Line(
            name=name,
            kind=kind,
            quality=_mean(quality),
            cost_usd=None if table.cost_usd is None else _mean(self._spread(expected, table.cost_usd)),
            latency_s=None if table.latency_s is None else _mean(self._spread(expected, table.latency_s)),
            utility=_mean(utility),
            drawn_utility=_mean(self._spread(drawn, self.worth)),
            drawn_cost_usd=None if drawn_usd is None else _mean(drawn_usd),
            over_best_fixed=_mean(over_best),
            over_best_fixed_interval=interval(self._resampling.means(over_best)),
            over_best_fixed_percent=_percent(_mean(over_best), self.fixed[self.best_fixed].utility),
            hull_quality=hull_quality,
            over_hull=over_hull,
            over_hull_interval=over_hull_interval,
            off_ceiling_percent=None if off_percent is None else float(off_percent.mean()),
            off_ceiling_mean_absolute_percent=None if off_percent is None else float(np.abs(off_percent).mean()),
            off_ceiling_largest_percent=None
            if off_percent is None
            else float(off_percent[np.argmax(np.abs(off_percent))]),
            arm_shares={
                model: _mean(np.where(self.counted, expected[..., column], np.nan))
                for column, model in enumerate(table.models)
            },
        )

    def _spread(self, chances: Floats, values: Floats) -> Floats:
        """Expected value per seed and prompt, NaN where not counted. [S, N]"""
        return np.where(self.counted, (chances * values).sum(axis=-1), np.nan)

    def _column(self, values: Floats, column: int) -> Floats:
        return np.where(self.counted, values[:, column], np.nan)

    def _fixed_arm(self, column: int) -> FixedArm:
        table = self.table
        return FixedArm(
            quality=_mean(self._column(table.quality, column)),
            cost_usd=None if table.cost_usd is None else _mean(self._column(table.cost_usd, column)),
            latency_s=None if table.latency_s is None else _mean(self._column(table.latency_s, column)),
            utility=_mean(self._column(self.worth, column)),
        )

    def _affordable(self) -> list[str]:
        """Models whose mean cost is within the ceiling; the cheapest, if none is."""
        ceiling_usd = self.trial.ceiling_usd
        costs = {model: arm.cost_usd or 0.0 for model, arm in self.fixed.items()}
        if ceiling_usd is None:
            return list(costs)
        return [model for model, cost in costs.items() if cost <= ceiling_usd] or [min(costs, key=lambda m: costs[m])]

    def _hull_points(self) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """(charges, qualities) of the fixed arms: [M], and replicated [B, M]."""
        nothing = np.zeros(0)
        if self._charged is None:
            return (nothing, nothing), (nothing, nothing)
        columns = range(len(self.table.models))
        charges = [self._column(self._charged, column) for column in columns]
        qualities = [self._column(self.table.quality, column) for column in columns]
        means = np.array([_mean(one) for one in charges]), np.array([_mean(one) for one in qualities])
        resample = self._resampling.means
        return means, (
            np.stack([resample(one) for one in charges], axis=-1),
            np.stack([resample(one) for one in qualities], axis=-1),
        )


def _charge(table: Table, trial: Trial) -> tuple[str | None, Floats | None]:
    """The axis of the hull: what this trial charges, else what the table has."""
    if table.latency_s is not None and (trial.weights.latency_per_s or table.cost_usd is None):
        return "latency_s", table.latency_s
    if table.cost_usd is not None:
        return "cost_usd", table.cost_usd
    return None, None


def _mean(spread: Floats) -> float:
    return float(np.nanmean(spread))


def _off_percent(drawn_usd: Floats, ceiling_usd: float) -> Floats:
    """How far each seed's mean is from the ceiling. [S, N] -> [S]"""
    off: Floats = 100 * (np.nanmean(drawn_usd, axis=1) / ceiling_usd - 1)
    return off


def _percent(part: float, whole: float) -> float | None:
    return None if abs(whole) < 1e-12 else 100 * part / abs(whole)
