from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from bandit.context import Weights
from bandit.features import extract
from bandit.replay.comparison import Comparison, compare
from bandit.replay.line import Line
from bandit.replay.reckoning import Reckoning, counted_rows
from bandit.replay.references import ORACLE, REGRESSION, UNIFORM, always, foresee, greedy
from bandit.replay.regression import design
from bandit.replay.run import Replay, order_of
from bandit.replay.statistics import Resampling
from bandit.replay.table import Floats, Table
from bandit.replay.trial import Trial
from tests.bandit.replay.made_up_table import made_up, with_first_part

TABLE = made_up(400)
SEEDS = 3


def played(table: Table, chances: Floats) -> list[Replay]:
    """As if a router had had these probabilities [N, M] for every prompt; drawn is the likeliest."""
    orders = [order_of(table, seed) for seed in range(SEEDS)]
    return [Replay(order, np.argmax(chances[order], axis=1), chances[order]) for order in orders]


def compared(trial: Trial, chances: Mapping[str, Floats], table: Table = TABLE, count_from: int = 100) -> Comparison:
    foreseen = foresee(table, design([extract(prompt) for prompt in table.prompts]))
    runs = {name: played(table, one) for name, one in chances.items()}
    counted = counted_rows(table, SEEDS, count_from)
    return compare(table, trial, foreseen, runs, dict.fromkeys(runs, "policy"), counted, Resampling(SEEDS, 400))


def line(comparison: Comparison, name: str) -> Line:
    return next(one for one in comparison.lines if one.name == name)


def test_router_that_plays_the_best_fixed_arm_is_at_zero() -> None:
    comparison = compared(Trial(Weights()), {"us": always(1, (400, 2))})
    us = line(comparison, "us")
    assert comparison.best_fixed == "large"
    assert us.over_best_fixed == 0 == us.over_best_fixed_interval.low == us.over_best_fixed_interval.high
    assert us.utility == pytest.approx(comparison.fixed["large"].utility)
    assert us.over_hull == pytest.approx(0, abs=1e-12)
    assert us.arm_shares == {"small": 0, "large": 1}


def test_router_that_plays_the_oracle_takes_all_of_it() -> None:
    us = line(compared(Trial(Weights()), {"us": greedy(TABLE.quality)}), "us")
    assert us.share_of_oracle == pytest.approx(1)
    assert us.over_best_fixed_interval.low > 0


def test_blind_mixing_lies_on_the_hull_at_its_own_cost() -> None:
    comparison = compared(Trial(Weights()), {"us": np.tile([0.3, 0.7], (400, 1))})
    us = line(comparison, "us")
    assert us.over_hull == pytest.approx(0, abs=1e-9)
    assert us.over_hull_interval is not None
    assert us.over_hull_interval.width < 1e-3
    assert us.cost_usd == pytest.approx(
        0.3 * (comparison.fixed["small"].cost_usd or 0) + 0.7 * (comparison.fixed["large"].cost_usd or 0)
    )


def test_only_counted_rounds_count() -> None:
    """Wrong before round 100 and right after it: nothing of the first rounds is in the means."""
    chances = greedy(TABLE.quality)
    runs = played(TABLE, chances)
    for one in runs:
        one.probabilities[:100] = 1 - one.probabilities[:100]
    foreseen = foresee(TABLE, design([extract(prompt) for prompt in TABLE.prompts]))
    counted = counted_rows(TABLE, SEEDS, 100)
    comparison = compare(
        TABLE, Trial(Weights()), foreseen, {"us": runs}, {"us": "policy"}, counted, Resampling(SEEDS, 400)
    )
    assert line(comparison, "us").share_of_oracle == pytest.approx(1)
    assert comparison.regret["us"][-1] > 0


def test_part_that_the_table_says_is_counted_whatever_the_round() -> None:
    table = with_first_part(TABLE, 0.5)
    assert counted_rows(table, 2, 7).tolist() == [(np.arange(400) >= 200).tolist()] * 2


def test_weight_changes_the_best_fixed_arm_and_the_axis() -> None:
    comparison = compared(Trial(Weights(latency_per_s=0.5)), {"us": always(0, (400, 2))})
    assert (comparison.best_fixed, comparison.charge) == ("small", "latency_s")
    assert compared(Trial(Weights(cost_per_usd=1)), {"us": always(0, (400, 2))}).charge == "cost_usd"


def test_table_without_charges_has_no_hull() -> None:
    table = replace(TABLE, cost_usd=None, latency_s=None)
    us = line(compared(Trial(Weights()), {"us": always(0, (400, 2))}, table), "us")
    assert us.hull_quality is None
    assert us.over_hull is None
    assert us.over_hull_interval is None
    assert us.cost_usd is None
    assert us.latency_s is None


def test_under_a_ceiling_gains_are_over_the_hull_and_the_drawn_cost_is_held_against_it() -> None:
    comparison = compared(Trial(Weights(), ceiling_usd=0.005), {"us": always(1, (400, 2))})
    us = line(comparison, "us")
    assert comparison.best_fixed == "small"
    assert us.off_ceiling_percent == pytest.approx(100, abs=5)  # 0.01 where 0.005 was allowed
    assert us.over_best_fixed > 0
    assert us.share_of_oracle == pytest.approx(0, abs=1e-9)
    assert line(comparison, REGRESSION).cost_usd == pytest.approx(0.005, rel=0.02)
    assert line(comparison, ORACLE).share_of_oracle == pytest.approx(1)


def test_deviations_from_the_ceiling_of_several_seeds_do_not_cancel() -> None:
    """One seed draws what costs half the ceiling, the other what costs one and a half."""
    table = replace(TABLE, cost_usd=np.tile([0.005, 0.015], (400, 1)))
    trial = Trial(Weights(), ceiling_usd=0.01)
    reckoning = Reckoning(table, trial, counted_rows(table, 3, 0), Resampling(3, 400))
    drawn = np.stack([always(0, (400, 2)), always(1, (400, 2)), always(1, (400, 2))])
    drawn[2, :200] = [1.0, 0.0]  # and the third one is right on it
    us = reckoning.line("us", "policy", drawn, drawn)
    assert us.off_ceiling_percent == pytest.approx(0, abs=1e-9)
    assert us.off_ceiling_mean_absolute_percent == pytest.approx(100 / 3)
    assert abs(us.off_ceiling_largest_percent or 0) == pytest.approx(50)
    free = Reckoning(table, Trial(Weights()), counted_rows(table, 3, 0), Resampling(3, 400))
    assert free.line("us", "policy", drawn, drawn).off_ceiling_mean_absolute_percent is None


def test_share_of_what_may_be_nothing_is_not_given() -> None:
    """Prompts whose words tell nothing: a regression that wins nothing is no yardstick."""
    noise = np.random.default_rng(0).uniform(0.4, 0.6, (400, 2)) + np.array([0.0, 0.3])
    table = replace(TABLE, quality=noise, prompts=("a cat",) * 400)
    comparison = compared(Trial(Weights()), {"us": always(0, (400, 2))}, table)
    assert line(comparison, "us").share_of_regression is None


def test_regret_of_the_oracle_is_none_and_of_the_uniform_choice_grows() -> None:
    comparison = compared(Trial(Weights()), {"us": greedy(TABLE.quality)})
    assert comparison.regret["us"] == (0.0,) * len(comparison.regret_rounds)
    curve = comparison.regret[UNIFORM]
    assert list(curve) == sorted(curve)
    assert comparison.regret_rounds[-1] == 400
    lost = TABLE.quality.max(axis=1).sum() - TABLE.quality.mean(axis=1).sum()
    assert curve[-1] == pytest.approx(lost)


def test_weight_without_a_column_to_charge_is_refused() -> None:
    from bandit.errors import BadTable

    table = replace(TABLE, latency_s=None)
    with pytest.raises(BadTable, match="has no latencies"):
        compared(Trial(Weights(latency_per_s=1)), {}, table)
