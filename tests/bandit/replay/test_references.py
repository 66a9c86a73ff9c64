from __future__ import annotations

import numpy as np
import pytest

from bandit.context import Weights
from bandit.features import extract
from bandit.replay.comparison import reference_chances
from bandit.replay.references import ORACLE, REGRESSION, UNIFORM, foresee, greedy, greedy_within
from bandit.replay.regression import design
from bandit.replay.trial import Trial
from tests.bandit.replay.made_up_table import made_up

TABLE = made_up(600)
FORESEEN = foresee(TABLE, design([extract(prompt) for prompt in TABLE.prompts]))
ALL = np.ones((1, 600), dtype=bool)


def earned(weights: Weights, name: str) -> float:
    chances = reference_chances(TABLE, Trial(weights), FORESEEN, ALL)[name]
    return float((chances * TABLE.worth(weights)).sum(axis=1).mean())


def test_uniform_earns_the_mean_and_oracle_the_best_of_every_prompt() -> None:
    assert earned(Weights(), UNIFORM) == pytest.approx(TABLE.quality.mean())
    assert earned(Weights(), ORACLE) == pytest.approx(TABLE.quality.max(axis=1).mean())


@pytest.mark.parametrize("weights", [Weights(), Weights(cost_per_usd=10), Weights(latency_per_s=0.1)])
def test_regression_beats_the_best_fixed_arm_where_prompts_tell_and_not_the_oracle(weights: Weights) -> None:
    best_fixed = TABLE.worth(weights).mean(axis=0).max()
    assert best_fixed + 0.02 < earned(weights, REGRESSION) < earned(weights, ORACLE)


@pytest.mark.parametrize("weights", [Weights(latency_per_s=10.0), Weights(cost_per_usd=1000.0)])
@pytest.mark.parametrize("name", [REGRESSION, ORACLE])
def test_reference_pays_for_cost_and_time(name: str, weights: Weights) -> None:
    assert reference_chances(TABLE, Trial(weights), FORESEEN, ALL)[name][:, 0].all()


def test_first_of_equal_arms_is_chosen() -> None:
    assert greedy(np.array([[0.5, 0.5], [0.1, 0.2]])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("ceiling_usd", [0.002, 0.004, 0.0075])
def test_choice_within_a_ceiling_spends_it_and_no_more(ceiling_usd: float) -> None:
    assert TABLE.cost_usd is not None
    counted = np.arange(600) >= 300
    chances = greedy_within(ceiling_usd, TABLE.quality, TABLE.cost_usd, TABLE.cost_usd, counted)
    spent = (chances * TABLE.cost_usd)[counted].sum(axis=1).mean()
    best = TABLE.cost_usd[counted][np.argmax(TABLE.quality[counted], axis=1) == 1, 1].sum() / 300
    assert spent == pytest.approx(ceiling_usd, rel=1e-6) or (spent < ceiling_usd and ceiling_usd > best)
    assert chances.sum(axis=1) == pytest.approx(1.0)


def test_ceiling_that_does_not_bind_changes_nothing() -> None:
    assert TABLE.cost_usd is not None
    chances = greedy_within(1.0, TABLE.quality, TABLE.cost_usd, TABLE.cost_usd, ALL[0])
    assert np.array_equal(chances, greedy(TABLE.quality))


def test_ceiling_below_the_cheapest_arm_is_met_as_nearly_as_can_be() -> None:
    assert TABLE.cost_usd is not None
    chances = greedy_within(1e-6, TABLE.quality, TABLE.cost_usd, TABLE.cost_usd, ALL[0])
    assert chances[:, 0].all()
