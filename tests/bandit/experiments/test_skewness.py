"""Few units of skewed values: intervals are not believed before they hold."""

import numpy as np
import pytest

from bandit.confidence import Moments, difference_interval
from bandit.experiments.skewness import MOST, of_difference, of_mean, skewness, units_needed

ALPHA = 0.05
SHARE = 0.05


def test_skewness_is_that_of_the_shape_alone() -> None:
    rng = np.random.default_rng(1)
    assert skewness(rng.exponential(size=200_000)) == pytest.approx(2.0, rel=0.05)
    assert skewness(5.0 - 3.0 * rng.exponential(size=200_000)) == pytest.approx(-2.0, rel=0.05)
    assert skewness(np.zeros(0)) == skewness(np.full(1000, 0.1)) == 0.0


def test_skewness_of_a_difference_cancels_at_an_even_split_and_not_at_an_uneven_one() -> None:
    values = np.random.default_rng(2).exponential(size=100_000)
    many, few = Moments.of(values), Moments.of(values[:100])
    assert of_mean(few, 2.0) == of_mean(few, -2.0) == pytest.approx(0.2)
    assert of_difference(few, few, (2.0, 2.0)) == pytest.approx(0.0)
    assert of_difference(few, few, (2.0, -2.0)) == pytest.approx(0.2 / 2**0.5)
    assert of_difference(few, many, (2.0, 2.0)) == pytest.approx(0.2, rel=0.25)
    assert of_difference(many, few, (2.0, 2.0)) == of_difference(few, many, (2.0, 2.0))
    assert of_difference(Moments.of([]), many, (0.0, 2.0)) == 0.0


def test_rare_values_that_only_the_larger_side_has_had_count_for_the_smaller_one() -> None:
    rng = np.random.default_rng(3)
    values = (rng.random(2000) < 0.02) * 1.0
    few = rng.normal(0.0, 0.1, size=100)  # none of them yet
    assert of_difference(Moments.of(few), Moments.of(values), (0.0, skewness(values))) > MOST


def test_four_times_the_units_halve_the_skewness() -> None:
    assert units_needed(50, 2 * MOST) == pytest.approx(200, abs=1)


def test_skewed_values_of_a_small_share_raise_alarms_at_no_more_than_alpha_once_they_are_believed() -> None:
    """Lognormal values, a twentieth of the units, looked at from 30 of them on: the case that made MOST necessary."""
    rng = np.random.default_rng(4)
    runs, looks = 500, np.unique(np.geomspace(30, 1000, 40).astype(int))
    at_once, once_believed = 0, 0
    for _ in range(runs):
        few, many = rng.lognormal(size=looks[-1]), rng.lognormal(size=int(looks[-1] * (1 - SHARE) / SHARE))
        alarm, believed = False, False
        for look in looks.tolist():
            sides = few[:look], many[: int(look * (1 - SHARE) / SHARE)]
            one, other = Moments.of(sides[0]), Moments.of(sides[1])
            if 0.0 in difference_interval(one, other, ALPHA, tuned_at=400):
                continue
            alarm = True
            believed |= of_difference(one, other, (skewness(sides[0]), skewness(sides[1]))) <= MOST
        at_once, once_believed = at_once + alarm, once_believed + believed
    assert once_believed / runs <= ALPHA
    assert at_once / runs > 1.4 * ALPHA
