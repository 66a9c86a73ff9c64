"""Peeking at an A/A every day for a month: how often somebody is called a winner or a loser who is not.

On the numbers alone, through the very functions that a report uses. Two kinds of traffic: new units every day, and the
same users who come back and whose requests hang together, which is where plain tests go wrong twice.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from bandit.confidence import Moments, difference_interval, mean_interval
from bandit.experiments.assignment import variant_of_slot
from bandit.experiments.design import plan_from_json
from bandit.experiments.measures import unit_moments

ALPHA = 0.05
DAYS = 30
SWITCHBACK = {
    "experiment_id": "exp",
    "hypothesis": "none",
    "control": "old",
    "kind": "switchback",
    "slot_s": 3600,
    "carry_over_s": 60,
    "variants": [{"name": name, "policy": "uniform"} for name in ("old", "new")],
}


def false_alarms(runs: int, seed: int, *, per_day: int, users: int | None, spread: float = 0.3) -> tuple[float, float]:
    """Share of A/A runs in which an interval ever leaves 0 out: ours, and a z-test's on requests looked at as often."""
    rng = np.random.default_rng(seed)
    ours, plain = 0, 0
    for _ in range(runs):
        size = DAYS * per_day
        unit = np.arange(size) if users is None else rng.integers(users, size=size)
        levels = rng.normal(0.5, spread, size=size if users is None else users)
        values = levels[unit] + rng.exponential(0.3, size=size)
        if users is None:
            side = rng.random(size) < 0.5
        else:
            side = (rng.random(users) < 0.5)[unit]
        left_out, z_left_out = False, False
        for day in range(1, DAYS + 1):
            seen = slice(0, day * per_day)
            first, second = side[seen], ~side[seen]
            sides = [unit_moments(unit[seen][one], values[seen][one]) for one in (first, second)]
            singles = float(values[seen][first].var()), float(values[seen][second].var())
            interval = difference_interval(sides[0], sides[1], ALPHA, tuned_at=500, single_variances=singles)
            left_out |= 0.0 not in interval
            means = [values[seen][one] for one in (first, second)]
            error = sqrt(sum(one.var(ddof=1) / len(one) for one in means))
            z_left_out |= abs(means[0].mean() - means[1].mean()) > 1.96 * error
        ours, plain = ours + left_out, plain + z_left_out
    return ours / runs, plain / runs


def test_daily_looks_raise_false_alarms_in_at_most_alpha_of_the_runs() -> None:
    ours, plain = false_alarms(300, 1, per_day=60, users=None)
    assert ours <= ALPHA
    assert plain > 0.2  # a z-test, looked at as often


def test_users_who_come_back_every_day_raise_no_more() -> None:
    ours, plain = false_alarms(300, 2, per_day=200, users=400)
    assert ours <= ALPHA
    assert plain > 0.3  # it also takes requests of one user for independent


def test_daily_looks_at_a_switchback_under_a_drifting_load_raise_no_more() -> None:
    """Load that drifts for hours and swings with the day: slots hang together, their differences in blocks do not."""
    rng = np.random.default_rng(4)
    runs, per_day, ours, plain = 200, 24, 0, 0
    for run in range(runs):
        planned = plan_from_json(SWITCHBACK | {"salt": str(run)})
        level, load = 0.0, np.zeros(DAYS * per_day)
        for slot in range(len(load)):
            level = 0.9 * level + rng.normal(0.0, 0.44)
            load[slot] = level + 1.5 * np.sin(2 * np.pi * slot / per_day) + rng.normal(0.0, 0.3)
        slots = np.arange(len(load))
        owner = np.array([variant_of_slot(planned, slot) for slot in slots.tolist()])
        blocks = {name: load[owner == name] for name in planned.names}  # one slot of each in every block
        gaps = blocks["new"] - blocks["old"]
        looks = [Moments.of(gaps[: day * per_day // 2]) for day in range(1, DAYS + 1)]
        ours += any(0.0 not in mean_interval(one, ALPHA, tuned_at=100) for one in looks)
        plain += any(abs(one.mean) > 1.96 * sqrt(one.variance / one.count) for one in looks)
    assert ours / runs <= ALPHA
    assert plain / runs > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_day", "users", "spread"),
    [(50, None, 0.3), (500, None, 0.3), (300, 300, 0.3), (300, 300, 0.0), (100, 3000, 0.3)],
)
def test_daily_looks_in_a_thousand_runs(per_day: int, users: int | None, spread: float) -> None:
    ours, _ = false_alarms(1000, 3, per_day=per_day, users=users, spread=spread)
    assert ours <= ALPHA
