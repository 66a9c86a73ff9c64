"""What the rounds that count were worth, per router, beside the references: one `Line` each.

Means are over the probabilities of each round, not over what happened to be drawn, and `drawn_` values say what was
drawn. Only rounds from `count_from` on are counted (or the part that the table says is to be counted).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from bandit.confidence import Interval

from .hull import hull_at
from .references import ORACLE, REGRESSION, UNIFORM, Foreseen, always, greedy, greedy_within, uniform
from .run import Replay, order_of
from .statistics import Resampling, interval
from .table import Floats, Rows, Table
from .trial import Trial


@dataclass(frozen=True, slots=True)
class Line:
    """One router, or reference, in one trial. Differences are paired, each with its 95 % interval."""

    name: str
    kind: str  # "reference" | "policy" | "peer"
    quality: float
    cost_usd: float | None
    latency_s: float | None
    utility: float
    drawn_utility: float
    drawn_cost_usd: float | None
    over_best_fixed: float  # utility less that of the best fixed arm, known in hindsight
    over_best_fixed_interval: Interval
    over_best_fixed_percent: float | None  # of the best fixed arm's utility; None where that is about zero
    hull_quality: float | None  # at this line's mean charge
    over_hull: float | None  # quality less the hull's at the same mean charge
    over_hull_interval: Interval | None
    share_of_oracle: float | None  # of the way from the best fixed arm to the oracle
    share_of_regression: float | None  # of the way from the best fixed arm to the full-information regression
    off_ceiling_percent: float | None  # of the drawn mean cost
    arm_shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial's lines, and the curves of regret: cumulative utility lost to the oracle, mean over seeds."""

    trial: Trial
    charge: str | None  # what the hull's axis is: "cost_usd", "latency_s" or None
    best_fixed: str
    fixed: Mapping[str, tuple[float, float | None, float | None, float]]  # quality, cost, latency, utility
    lines: tuple[Line, ...]
    regret_rounds: tuple[int, ...]
    regret: Mapping[str, tuple[float, ...]]


def counted_rows(table: Table, seed: int, count_from: int) -> Rows:
    """Prompts [N] that are counted in this seed's order."""
    counted = np.zeros(len(table.prompts), dtype=bool)
    start = int(table.first_part.sum()) if table.first_part is not None else count_from
    counted[order_of(table, seed)[start:]] = True
    return counted


def compare(
    table: Table,
    trial: Trial,
    foreseen: Foreseen,
    runs: Mapping[str, Sequence[Replay]],
    kinds: Mapping[str, str],
    masks: Rows,
    resampling: Resampling,
) -> Comparison:
    """`runs` holds every router's replays, one per seed; `masks` [S, N] say what is counted. Raises BadTable."""
    worth = table.worth(trial.weights)
    charged, charge = _charge(table, trial)
    fixed_worth = np.array([_mean(worth[:, model], masks) for model in range(len(table.models))])
    best = int(np.argmax(fixed_worth))
    arms_quality = [_spread(always(model, worth.shape), table.quality, masks) for model in range(len(table.models))]
    arms_charge = (
        [_spread(always(model, worth.shape), charged, masks) for model in range(len(table.models))]
        if charged is not None else []
    )  # fmt: skip
    hull_points = [
        np.stack([resampling.means(one) for one in part], axis=-1) for part in (arms_charge, arms_quality) if part
    ]
    best_worth = _spread(always(best, worth.shape), worth, masks)

    chances: dict[str, Floats] = {UNIFORM: uniform(worth.shape)}
    anyone = masks.any(axis=0)
    if trial.ceiling_usd is not None and table.cost_usd is not None and foreseen.cost_usd is not None:
        chances[REGRESSION] = greedy_within(
            trial.ceiling_usd, foreseen.quality, foreseen.cost_usd, table.cost_usd, anyone
        )
        chances[ORACLE] = greedy_within(trial.ceiling_usd, table.quality, table.cost_usd, table.cost_usd, anyone)
    else:
        chances[REGRESSION] = greedy(foreseen.worth(trial.weights))
        chances[ORACLE] = greedy(worth)
    given: dict[str, tuple[str, Floats, Floats]] = {
        name: (
            "reference",
            np.broadcast_to(one, (len(masks), *one.shape)),
            np.broadcast_to(one, (len(masks), *one.shape)),
        )
        for name, one in chances.items()
    }
    for name, replays in runs.items():
        given[name] = (kinds[name], *_by_row(table, replays))

    gains = {name: _mean_spread(_spread(one, worth, masks) - best_worth) for name, (_, one, _) in given.items()}
    lines = []
    for name, (kind, expected, drawn) in given.items():
        quality, utility = _spread(expected, table.quality, masks), _spread(expected, worth, masks)
        hull_quality = over_hull = None
        over_hull_interval = None
        if charged is not None:
            spent = _spread(expected, charged, masks)
            points = [np.array([_mean_spread(one) for one in part]) for part in (arms_charge, arms_quality)]
            hull_quality = float(hull_at(*points, _mean_spread(spent)))
            over_hull = _mean_spread(quality) - hull_quality
            beyond = resampling.means(quality) - hull_at(*hull_points, resampling.means(spent))
            over_hull_interval = interval(beyond)
        cost = None if table.cost_usd is None else _mean_spread(_spread(expected, table.cost_usd, masks))
        drawn_cost = None if table.cost_usd is None else _mean_spread(_spread(drawn, table.cost_usd, masks))
        lines.append(
            Line(
                name=name,
                kind=kind,
                quality=_mean_spread(quality),
                cost_usd=cost,
                latency_s=None if table.latency_s is None else _mean_spread(_spread(expected, table.latency_s, masks)),
                utility=_mean_spread(utility),
                drawn_utility=_mean_spread(_spread(drawn, worth, masks)),
                drawn_cost_usd=drawn_cost,
                over_best_fixed=gains[name],
                over_best_fixed_interval=interval(resampling.means(utility - best_worth)),
                over_best_fixed_percent=_percent(gains[name], float(fixed_worth[best])),
                hull_quality=hull_quality,
                over_hull=over_hull,
                over_hull_interval=over_hull_interval,
                share_of_oracle=_share(gains[name], gains[ORACLE]),
                share_of_regression=_share(gains[name], gains[REGRESSION]),
                off_ceiling_percent=None
                if trial.ceiling_usd is None or drawn_cost is None
                else _percent(drawn_cost - trial.ceiling_usd, trial.ceiling_usd),
                arm_shares={
                    model: _mean_spread(np.where(masks, expected[:, :, column], np.nan))
                    for column, model in enumerate(table.models)
                },
            )
        )
    rounds, regret = _regret(worth, runs)
    return Comparison(
        trial=trial,
        charge=charge,
        best_fixed=table.models[best],
        fixed={
            model: (
                _mean(table.quality[:, column], masks),
                None if table.cost_usd is None else _mean(table.cost_usd[:, column], masks),
                None if table.latency_s is None else _mean(table.latency_s[:, column], masks),
                float(fixed_worth[column]),
            )
            for column, model in enumerate(table.models)
        },
        lines=tuple(lines),
        regret_rounds=rounds,
        regret=regret,
    )


def _charge(table: Table, trial: Trial) -> tuple[Floats | None, str | None]:
    """The axis of the hull: what this trial charges, else what the table has."""
    if table.latency_s is not None and (trial.weights.latency_per_s or table.cost_usd is None):
        return table.latency_s, "latency_s"
    if table.cost_usd is not None:
        return table.cost_usd, "cost_usd"
    return None, None


def _by_row(table: Table, replays: Sequence[Replay]) -> tuple[Floats, Floats]:
    """Probabilities and draws in the table's order. [S, N, M] each."""
    expected = np.zeros((len(replays), *table.quality.shape))
    drawn = np.zeros((len(replays), *table.quality.shape))
    for seed, one in enumerate(replays):
        expected[seed, one.order] = one.probabilities
        drawn[seed, one.order, one.drawn] = 1.0
    return expected, drawn


def _spread(chances: Floats, values: Floats, masks: Rows) -> Floats:
    """Expected value per seed and prompt, NaN where not counted. [S, N]"""
    return np.where(masks, (chances * values).sum(axis=-1), np.nan)


def _mean_spread(spread: Floats) -> float:
    return float(np.nanmean(spread))


def _mean(values: Floats, masks: Rows) -> float:
    return float((masks * values).sum() / masks.sum())


def _share(gain: float, most: float) -> float | None:
    return gain / most if most > 1e-9 else None


def _percent(part: float, whole: float) -> float | None:
    return None if isnan(part) or abs(whole) < 1e-12 else 100 * part / abs(whole)


def _regret(
    worth: Floats, runs: Mapping[str, Sequence[Replay]]
) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    """Cumulative utility lost to the oracle at up to 200 rounds, mean over seeds."""
    length = len(worth)
    at = np.unique(np.linspace(0, length - 1, min(length, 200)).astype(int))
    curves = {}
    for name, replays in runs.items():
        lost = [
            np.cumsum(worth[one.order].max(axis=1) - (one.probabilities * worth[one.order]).sum(axis=1))
            for one in replays
        ]
        curves[name] = tuple(float(value) for value in np.mean(lost, axis=0)[at])
    return tuple(int(one) + 1 for one in at), curves
