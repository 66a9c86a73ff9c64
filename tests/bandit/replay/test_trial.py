from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bandit.context import Weights
from bandit.replay.trial import Trial, default_trials
from tests.bandit.replay.made_up_table import made_up

TABLE = made_up(400)


def test_title_says_what_is_paid_for() -> None:
    assert Trial(Weights()).title == "quality"
    assert Trial(Weights(latency_per_s=0.05)).title == "quality − 0.05 × s"
    assert Trial(Weights(cost_per_usd=100)).title == "quality − 100 × USD"
    assert Trial(Weights(), ceiling_usd=4.3e-4).title == "quality at a mean cost of 0.00043 USD"


def test_default_weights_make_the_best_arm_about_as_good_a_deal_as_the_cheapest() -> None:
    quality, by_time, by_cost = default_trials(TABLE)
    assert quality == Trial(Weights())
    for trial in (by_time, by_cost):
        worth = TABLE.worth(trial.weights).mean(axis=0)
        assert abs(worth[0] - worth[1]) < 0.05 * np.ptp(TABLE.quality.mean(axis=0))
    assert by_time.weights.latency_per_s == pytest.approx(0.15, abs=0.02)
    assert by_cost.weights.cost_per_usd == pytest.approx(15, abs=2)


def test_default_where_all_cost_the_same_is_quality_alone() -> None:
    assert default_trials(replace(TABLE, cost_usd=np.full((400, 2), 0.1), latency_s=None)) == (Trial(Weights()),)


def test_default_without_charges_or_where_the_cheapest_is_best_is_quality_alone() -> None:
    assert default_trials(replace(TABLE, cost_usd=None, latency_s=None)) == (Trial(Weights()),)
    assert TABLE.cost_usd is not None
    assert default_trials(replace(TABLE, cost_usd=TABLE.cost_usd[:, ::-1], latency_s=None)) == (Trial(Weights()),)
