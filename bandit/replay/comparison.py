"""All lines of one trial side by side, and the curves of regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .line import FixedArm, Line
from .reckoning import Reckoning, by_row
from .references import BEST_FIXED, ORACLE, REGRESSION, UNIFORM, Foreseen, always, greedy, greedy_within, uniform
from .run import Replay
from .statistics import Resampling
from .table import Floats, Rows, Table
from .trial import Trial

CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial's lines; regret is the cumulative utility lost to the oracle, mean over seeds, all rounds."""

    trial: Trial
    charge: str | None  # what the hull's axis is: "cost_usd", "latency_s" or None
    best_fixed: str  # known in hindsight; under a ceiling, among those within it
    fixed: Mapping[str, FixedArm]
    lines: tuple[Line, ...]
    regret_rounds: tuple[int, ...]
    regret: Mapping[str, tuple[float, ...]]


def compare(
    table: Table,
    trial: Trial,
    foreseen: Foreseen,
    runs: Mapping[str, Sequence[Replay]],
    kinds: Mapping[str, str],
    counted: Rows,
    resampling: Resampling,
) -> Comparison:
    """`runs` holds every router's replays, one per seed; `counted` is [S, N]. Raises BadTable."""
    reckoning = Reckoning(table, trial, counted, resampling)
    chances = reference_chances(table, trial, foreseen, counted)
    lines = [reckoning.line(name, "reference", one, one) for name, one in chances.items()]
    lines += [reckoning.line(name, kinds[name], *by_row(table, replays)) for name, replays in runs.items()]
    gains = {line.name: _gain(line, trial) for line in lines}
    certain = {line.name: _certain(line, trial) for line in lines}
    best_fixed = always(table.models.index(reckoning.best_fixed), table.quality.shape)
    rounds, regret = regret_curves(reckoning.worth, runs, {BEST_FIXED: best_fixed, **chances})
    return Comparison(
        trial=trial,
        charge=reckoning.charge,
        best_fixed=reckoning.best_fixed,
        fixed=reckoning.fixed,
        lines=tuple(
            replace(
                line,
                share_of_oracle=_share(gains[line.name], gains[ORACLE], certain[ORACLE]),
                share_of_regression=_share(gains[line.name], gains[REGRESSION], certain[REGRESSION]),
            )
            for line in lines
        ),
        regret_rounds=rounds,
        regret=regret,
    )


def reference_chances(table: Table, trial: Trial, foreseen: Foreseen, counted: Rows) -> dict[str, Floats]:
    """Probabilities [N, M] of each reference."""
    shape = table.quality.shape
    if trial.ceiling_usd is None or table.cost_usd is None or foreseen.cost_usd is None:
        worth = table.worth(trial.weights)
        return {UNIFORM: uniform(shape), REGRESSION: greedy(foreseen.worth(trial.weights)), ORACLE: greedy(worth)}
    anyone: Rows = np.asarray(counted.any(axis=0), dtype=bool)
    ceiling_usd, true_usd = trial.ceiling_usd, table.cost_usd
    return {
        UNIFORM: uniform(shape),
        REGRESSION: greedy_within(ceiling_usd, foreseen.quality, foreseen.cost_usd, true_usd, anyone),
        ORACLE: greedy_within(ceiling_usd, table.quality, true_usd, true_usd, anyone),
    }


def regret_curves(
    worth: Floats, runs: Mapping[str, Sequence[Replay]], references: Mapping[str, Floats]
) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    """Rounds, and per router and reference what was lost to the oracle until then. References are [N, M]."""
    if not runs:
        return (), {}
    orders = [one.order for one in next(iter(runs.values()))]
    rounds = len(orders[0])
    at = np.unique(np.linspace(0, rounds - 1, min(rounds, CURVE_POINTS)).astype(int))
    curves = {}
    for name, replays in runs.items():
        lost = [_lost(worth[one.order], one.probabilities) for one in replays]
        curves[name] = tuple(float(value) for value in np.mean(lost, axis=0)[at])
    for name, chances in references.items():
        lost = [_lost(worth[order], chances[order]) for order in orders]
        curves[name] = tuple(float(value) for value in np.mean(lost, axis=0)[at])
    return tuple(int(one) + 1 for one in at), curves


def _lost(worth: Floats, chances: Floats) -> Floats:
    return np.cumsum(worth.max(axis=1) - (chances * worth).sum(axis=1))


def _gain(line: Line, trial: Trial) -> float:
    """Over what needs no look at a prompt: the best fixed arm, or under a ceiling the hull at the same mean cost."""
    return line.over_best_fixed if trial.ceiling_usd is None else line.over_hull or 0.0


def _certain(line: Line, trial: Trial) -> bool:
    """Whether the gain is one at all; a share of what may be nothing is no number."""
    interval = line.over_best_fixed_interval if trial.ceiling_usd is None else line.over_hull_interval
    return interval is not None and interval.low > 0


def _share(gain: float, most: float, certain: bool) -> float | None:
    return gain / most if certain else None
