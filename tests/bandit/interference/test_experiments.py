"""Few runs and short, seeded; tolerances are some standard errors of the simulation, and what is asserted is far off
them where a design is at fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bandit.interference.experiments import SCENARIOS, Plan, Row, Scenario, cell
from bandit.interference.relaxation import relaxation
from bandit.interference.routing import Greedy

PLAN = Plan(runs=24, duration_s=840.0, slot_s=30.0, carry_over_s=15.0, chunk=24, seed=4)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def rows(name: str, load: float, plan: Plan = PLAN) -> dict[str, Row]:
    return {row.design: row for row in cell(BY_NAME[name], load, plan)}


@pytest.fixture(scope="module")
def greedier() -> dict[str, Row]:
    return rows("a-b greedier", 0.85)


def test_a_split_by_request_of_equal_policies_is_fair_at_low_load() -> None:
    found = rows("a-a", 0.3, replace(PLAN, runs=60, chunk=60))
    for row in found.values():
        assert row.truth == 0
        assert abs(row.bias) < 4 * row.bias_se
        assert row.coverage > 0.84  # 0.95 less four standard errors of 60 runs
        assert row.anytime_coverage >= row.coverage


def test_under_load_the_split_names_the_wrong_winner(greedier: dict[str, Row]) -> None:
    """All on the greedier policy fare worse; beside the other it takes the places that the other leaves."""
    split = greedier["split"]
    assert split.truth < -0.03
    assert split.estimate > 0.01
    assert split.wrong_winner == 1.0
    assert split.coverage == 0.0


def test_under_load_switchback_and_pools_tell_the_truth(greedier: dict[str, Row]) -> None:
    back, pools, split = greedier["switchback"], greedier["pools"], greedier["split"]
    assert abs(back.bias) < 4 * back.bias_se
    assert back.coverage > 0.75
    assert back.wrong_winner == pools.wrong_winner == 0.0
    assert abs(pools.bias) < 0.25 * abs(split.bias)  # what is left: half a tier queues otherwise than a whole one


def test_without_dropping_the_carry_over_the_effect_is_watered_down(greedier: dict[str, Row]) -> None:
    kept, back = greedier["switchback, all kept"], greedier["switchback"]
    assert kept.bias > 5 * kept.bias_se
    assert abs(back.bias) < 0.5 * kept.bias


@pytest.mark.slow
def test_sticky_users_are_units_and_their_requests_are_not() -> None:
    found = rows("a-a sticky", 0.85, replace(PLAN, runs=40, chunk=40, duration_s=1440.0))
    assert found["split"].coverage < 0.75
    assert found["split, by user"].coverage > 0.8
    assert found["switchback"].coverage > 0.8
    assert found["pools, by user"].coverage < found["pools"].coverage


@pytest.mark.slow
def test_a_canary_that_sees_its_own_load_only_looks_other_than_it_is() -> None:
    found = rows("a-a canary", 0.85)
    assert found["split"].bias < -0.02
    assert found["split"].latency_ratio > 1.3
    assert found["split"].coverage == 0.0
    for design in ("switchback", "pools"):
        assert abs(found[design].bias) < 4 * found[design].bias_se
        assert found[design].latency_ratio == pytest.approx(1.0, abs=0.08)


@pytest.mark.slow
def test_the_truth_is_of_the_same_requests_under_each_policy() -> None:
    """A treatment that only differs where nothing waits: with one request at a time there is no effect at all."""
    same = Scenario("", "", Greedy(1.0), Greedy(1.0 + 1e-9))
    found = {row.design: row for row in cell(same, 0.5, replace(PLAN, runs=5, chunk=3))}
    assert not same.is_a_a
    assert found["split"].truth == pytest.approx(0.0, abs=1e-6)
    assert found["split"].runs == 5
    assert found["split"].true_latency_ratio == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_queues_remember_longer_the_fuller_they_are() -> None:
    calm, full = (relaxation(BY_NAME["a-b greedier"], load, 60, seed=1) for load in (0.5, 0.95))
    assert 0 < calm.relaxation_s < full.relaxation_s < 60
    assert calm.forgotten_s < full.forgotten_s
    assert full.backlog_treatment > full.backlog_control > calm.backlog_control
