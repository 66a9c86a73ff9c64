"""Counts as evidence: few are enough where they all fall on one side, and looking often is free."""

import numpy as np
import pytest

from bandit.experiments.evidence import events_above, rate_above


def test_handful_of_errors_on_one_side_is_enough() -> None:
    assert events_above(0, 0, (0.5, 0.5)) == pytest.approx(1.0)
    assert events_above(3, 0, (0.5, 0.5)) < 20
    assert events_above(10, 0, (0.5, 0.5)) > 20
    assert events_above(10, 9, (0.5, 0.5)) < 1
    assert events_above(0, 50, (0.5, 0.5)) < 0.01


def test_weights_and_the_margin_are_allowed_for() -> None:
    assert events_above(90, 10, (0.9, 0.1)) < 1
    assert events_above(90, 10, (0.5, 0.5)) > 1e6
    assert events_above(60, 40, (0.5, 0.5), factor=2.0) < 1


@pytest.mark.parametrize(("rate", "most"), [(0.02, 0.02), (0.05, 0.05), (0.01, 0.05)])
def test_false_alarms_of_a_rate_at_every_look_are_at_most_alpha(rate: float, most: float) -> None:
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(300):
        failed = np.cumsum(rng.random(3000) < rate)
        looks = np.arange(10, 3001, 25)
        false += any(rate_above(int(failed[end - 1]), int(end), most) >= 20 for end in looks)
    assert false / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_false_alarms_of_a_comparison_at_every_event_are_at_most_alpha() -> None:
    rng = np.random.default_rng(6)
    false = 0
    for _ in range(300):
        treated = np.cumsum(rng.random(400) < 0.3)
        false += any(
            events_above(int(count), seen - int(count), (0.3, 0.7)) >= 20 for seen, count in enumerate(treated, 1)
        )
    assert false / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_worse_rate_is_seen() -> None:
    assert rate_above(60, 1000, 0.03) > 1000
    assert rate_above(30, 1000, 0.03) < 1
    assert rate_above(1_000_000, 1_000_000, 0.5) > 1e300


@pytest.mark.parametrize("most", [0.0, 1.0, -1.0, float("nan")])
def test_rate_that_is_none_is_refused(most: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        rate_above(1, 2, most)
