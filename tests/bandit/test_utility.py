from __future__ import annotations

from math import inf, nan

import pytest

from bandit.context import Weights
from bandit.utility import utility, vw_cost


def test_utility_subtracts_time_and_money_by_the_callers_weights() -> None:
    assert utility(Weights(2.0, 0.5, 10.0), quality=0.75, latency_s=0.5, cost_usd=0.025) == 1.0


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("position", [0, 1, 2, 3, 4, 5])
def test_utility_refuses_what_is_not_finite(bad: float, position: int) -> None:
    values = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    values[position] = bad
    with pytest.raises(ValueError, match="finite"):
        utility(Weights(*values[:3]), *values[3:])


def test_utility_refuses_an_overflow_of_finite_values() -> None:
    with pytest.raises(ValueError, match="finite"):
        utility(Weights(1.0, 1e200, 0.0), 0.5, 1e200, 0.0)


@pytest.mark.parametrize(("worth", "cost"), [(1.0, 0.0), (0.0, 0.5), (-1.0, 1.0), (5.0, 0.0), (-1e308, 1.0)])
def test_vw_cost_is_clipped_to_the_unit_interval(worth: float, cost: float) -> None:
    assert vw_cost(worth) == cost


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_vw_cost_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        vw_cost(bad)
