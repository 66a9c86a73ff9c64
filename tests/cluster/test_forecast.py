"""Tests of the router's forecast: steady, rising, noisy and absent demand, on a made-up clock."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ImpossibleContext
from cluster.forecast import Forecast, ForecastRule

RULE = ForecastRule()


def fed(rates_per_s: list[float], step_s: float = 1.0) -> Forecast:
    """After one count each `step_s` of exactly that rate."""
    forecast = Forecast(at_s=100.0)
    for number, rate in enumerate(rates_per_s, start=1):
        forecast = forecast.after(100.0 + number * step_s, rate * step_s, RULE)
    return forecast


def test_rate_of_nothing_counted_is_zero() -> None:
    assert Forecast(at_s=0.0).rate_per_s(60.0, RULE) == 0.0


def test_rate_is_unbiased_from_the_first_count_on() -> None:
    """Means that start at zero would say that a new gateway sees little demand."""
    assert fed([8.0]).rate_per_s(60.0, RULE) == pytest.approx(8.0)
    assert fed([8.0] * 500).rate_per_s(60.0, RULE) == pytest.approx(8.0)


def test_rate_of_a_ramp_is_ahead_by_the_horizon() -> None:
    ramp = [1000.0 + 20.0 * second for second in range(600)]
    now_per_s = ramp[-1]
    assert fed(ramp).rate_per_s(0.0, RULE) == pytest.approx(now_per_s, rel=0.01)
    assert fed(ramp).rate_per_s(60.0, RULE) == pytest.approx(now_per_s + 20.0 * 60, rel=0.01)


def test_rate_after_a_step_never_exceeds_the_growth_allowed() -> None:
    rates = [fed([10.0] * 200 + [100.0] * seconds).rate_per_s(120.0, RULE) for seconds in range(1, 120)]
    assert max(rates) <= 1.5 * 100.0
    assert rates[-1] == pytest.approx(100.0, rel=0.2)


def test_rate_follows_a_fall_without_undershooting() -> None:
    rates = [fed([100.0] * 200 + [10.0] * seconds).rate_per_s(120.0, RULE) for seconds in range(1, 60)]
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert min(rates) >= 10.0


def test_counting_noise_is_hardly_a_trend() -> None:
    """At 4 requests/s the level itself is noisy; what must not happen is that a horizon multiplies the noise."""
    rng = random.Random(3)
    forecast, added = Forecast(at_s=0.0), []
    for second in range(1, 3001):
        requests = sum(rng.random() < 0.04 for _ in range(100))
        forecast = forecast.after(float(second), requests, RULE)
        added.append(forecast.rate_per_s(60.0, RULE) - forecast.rate_per_s(0.0, RULE))
    settled = added[200:]
    assert sum(one > 0 for one in settled) < 0.1 * len(settled)
    assert sum(settled) / len(settled) < 0.02 * 4.0


def test_counts_at_one_and_the_same_time_are_kept() -> None:
    assert Forecast(at_s=5.0).after(5.0, 3.0, RULE).rate_per_s(0.0, RULE) > 0
    assert Forecast(at_s=5.0).after(-5.0, 3.0, RULE).at_s > 5.0


@settings(deadline=None)
@given(counts=st.lists(st.tuples(st.floats(-10, 1e6), st.floats(0, 1e9)), max_size=20), horizon_s=st.floats(0, 1e6))
def test_rate_is_finite_and_never_negative(counts: list[tuple[float, float]], horizon_s: float) -> None:
    forecast = Forecast(at_s=0.0)
    for elapsed_s, requests in counts:
        forecast = forecast.after(forecast.at_s + elapsed_s, requests, RULE)
        assert 0.0 <= forecast.rate_per_s(horizon_s, RULE) < float("inf")


@pytest.mark.parametrize("given_figures", [(float("nan"), 1.0), (1.0, float("inf")), (1.0, -1.0)])
def test_after_refuses_impossible_figures(given_figures: tuple[float, float]) -> None:
    with pytest.raises(ImpossibleContext):
        Forecast(at_s=0.0).after(*given_figures, RULE)


@pytest.mark.parametrize(
    "fields", [{"fast_s": 0.0}, {"fast_s": 40.0}, {"most_growth": 0.5}, {"least_deviations": -1.0}]
)
def test_rule_refuses_what_cannot_be(fields: dict[str, float]) -> None:
    with pytest.raises(ImpossibleContext):
        ForecastRule(**fields)
