"""The lower bound: coverage over all looks by simulation, also of means that move and of heavy tails."""

import numpy as np
import pytest

from bandit.evaluation import sequence
from bandit.evaluation.sequence import lower_mean

ALPHA = 0.05
LOOKS = (1, 10, 30, 100, 300, 1000)


def weighted(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Importance-weighted rewards: mostly 0, seldom 60; the conditional means drift from 0.2 to 0.6."""
    means = np.linspace(0.2, 0.6, count)
    weight = np.where(rng.random(count) < 1 / 60, 60.0, 0.0)
    return weight * (rng.random(count) < means), means


def bounded(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.random(count), np.full(count, 0.5)


def beyond(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Means above the ceiling, which is a scale and no condition."""
    means = np.linspace(1.5, 3.0, count)
    return rng.exponential(means), means


@pytest.mark.parametrize("draw", [weighted, bounded, beyond])
def test_lower_mean_passes_the_mean_at_any_look_in_at_most_alpha_of_the_runs(draw):
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(1000):
        values, means = draw(rng, LOOKS[-1])
        missed += any(lower_mean(values[:look], ALPHA) > means[:look].mean() for look in LOOKS)
    assert missed <= ALPHA * 1000


def test_lower_mean_is_where_the_mixture_is_one_over_alpha():
    """The equation in the module's docstring, summed without any of its shortcuts."""
    values = np.random.default_rng(2).random(200)
    low = lower_mean(values, ALPHA)
    spread, total = 0.0, 0.0
    for place, value in enumerate(values):
        guess = min((0.5 + total) / (place + 1), 1.0)
        spread += (value - guess) ** 2
        total += value
    above = values.sum() - len(values) * low
    wealth = np.mean([np.exp(rate * above - (-np.log(1 - rate) - rate) * spread) for rate in sequence._RATES])
    assert wealth == pytest.approx(1 / ALPHA, rel=1e-6)


def test_lower_mean_closes_in_on_the_mean():
    values = np.random.default_rng(3).random(20_000)
    lows = [lower_mean(values[:count], ALPHA) for count in (100, 1000, 20_000)]
    assert lows == sorted(lows)
    assert 0.49 < lows[-1] < 0.5
    assert lower_mean(values, 0.2) > lower_mean(values, 0.001)


def test_lower_mean_follows_its_floor_and_ceiling():
    values = np.random.default_rng(4).random(500)
    moved = lower_mean(7.0 * values - 3.0, ALPHA, floor=-3.0, ceiling=4.0)
    assert moved == pytest.approx(7.0 * lower_mean(values, ALPHA) - 3.0)
    assert lower_mean(np.array([]), ALPHA, floor=-3.0) == -3.0
    assert lower_mean(np.array([0.1]), ALPHA) == 0.0


@pytest.mark.parametrize("bad", [-0.001, float("nan"), float("inf")])
def test_lower_mean_refuses_values_that_cannot_be(bad):
    with pytest.raises(ValueError, match="allowed: finite"):
        lower_mean(np.array([0.5, bad]), ALPHA)
