"""Intervals of quantiles hold at every look, and get narrow."""

from math import inf

import numpy as np
import pytest

from bandit.experiments.quantiles import quantile, quantile_difference, quantile_interval


def test_quantile_is_an_order_statistic() -> None:
    ordered = np.arange(100.0)
    assert (quantile(ordered, 0.5), quantile(ordered, 0.95), quantile(np.zeros(0), 0.5)) == (50.0, 95.0, None)


@pytest.mark.parametrize("p", [0.5, 0.95])
def test_quantile_is_missed_at_any_look_in_at_most_alpha_of_the_runs(p: float) -> None:
    rng = np.random.default_rng(7)
    true, missed = float(-np.log(1 - p)), 0
    for _ in range(150):
        values = rng.exponential(size=3000)
        for end in range(30, 3001, 90):
            interval = quantile_interval(np.sort(values[:end]), p, 0.05, end)
            if true not in interval:
                missed += 1
                break
    assert missed / 150 <= 0.05


def test_difference_of_equal_ones_holds_zero_and_of_others_does_not() -> None:
    rng = np.random.default_rng(8)
    one, other = np.sort(rng.exponential(size=20_000)), np.sort(rng.exponential(size=20_000))
    units = len(one), len(other)
    same = quantile_difference(one, other, 0.95, 0.05, units=units)
    assert 0.0 in same
    assert same.width < 0.7
    assert quantile_difference(1.5 * one, other, 0.95, 0.05, units=units).low > 0
    assert quantile_difference(1.5 * one, other, 0.95, 0.05, units=units, factor=1.6).low < 0


def test_few_units_tell_nothing_however_many_values_they_have() -> None:
    ordered = np.arange(10_000.0)
    assert quantile_interval(ordered, 0.5, 0.05, 29).width == inf
    wide, narrow = (quantile_interval(ordered, 0.5, 0.05, units) for units in (100, 10_000))
    assert wide.width > 3 * narrow.width
    assert quantile_interval(ordered, 0.99, 0.05, 60).high == inf
