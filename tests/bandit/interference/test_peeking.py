from __future__ import annotations

import pytest

from bandit.interference.peeking import FalseAlarms, false_alarms, price


@pytest.fixture(scope="module")
def alarms() -> FalseAlarms:
    return false_alarms(runs=2000, seed=2)


def test_a_z_test_looked_at_daily_raises_the_alarms_that_theory_says(alarms: FalseAlarms) -> None:
    """Thirty looks at 5 %: between the 0.266 of 25 looks and the 0.320 of 50 (Armitage, McPherson & Rowe 1969)."""
    assert alarms.plain_any_look == pytest.approx(0.28, abs=0.03)
    assert alarms.plain_by_look[0] == pytest.approx(0.05, abs=0.02)


def test_a_z_test_looked_at_once_keeps_its_promise(alarms: FalseAlarms) -> None:
    assert alarms.plain_last_look == pytest.approx(0.05, abs=0.02)


def test_the_anytime_valid_interval_keeps_its_promise_at_every_look(alarms: FalseAlarms) -> None:
    assert 0 < alarms.anytime_any_look <= alarms.alpha
    assert alarms.anytime_last_look <= alarms.anytime_any_look


def test_alarms_only_add_up(alarms: FalseAlarms) -> None:
    for curve in (alarms.plain_by_look, alarms.anytime_by_look):
        assert len(curve) == 30
        assert list(curve) == sorted(curve)
    assert alarms.plain_by_look[-1] == alarms.plain_any_look


def test_leave_to_look_costs_requests_but_not_several_times_as_many() -> None:
    found = price(effect=0.2, runs=300, seed=3)
    assert found.fixed == pytest.approx(392.4, abs=0.1)  # 2 ((1.960 + 0.842) / 0.2)^2
    assert 1.2 < found.anytime_power / found.fixed < 2.2
    assert found.anytime_mean < found.anytime_power
    assert found.stopped > 0.97
    assert found.wrong < 0.01


def test_a_boundary_tuned_to_the_size_of_the_experiment_is_cheaper() -> None:
    tuned, early = (price(effect=0.05, runs=100, seed=3, tuned_at=at) for at in (12_544, 500))
    assert tuned.anytime_power < 0.9 * early.anytime_power
