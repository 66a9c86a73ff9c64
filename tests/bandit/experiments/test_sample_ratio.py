"""The check of the sample ratio: false alarms at thousands of looks, and how soon a real mismatch is seen."""

from math import exp, lgamma, log

import numpy as np
import pytest

from bandit.experiments.sample_ratio import ALARM, chi_square, chi_square_tail, sample_ratio, sequential_p


def split(rng: np.random.Generator, units: int, shares: list[float]) -> np.ndarray:
    return rng.choice(len(shares), size=units, p=shares)


def arrived(*counts: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    units, start = {}, 0
    for place, count in enumerate(counts):
        units["abc"[place]] = (np.arange(start, start + count), np.linspace(0, 1, count))
        start += count
    return units


@pytest.mark.parametrize(
    ("statistic", "freedom", "p"),  # of printed tables (Abramowitz & Stegun 1964, Table 26.8)
    [
        (3.84146, 1, 0.05),
        (10.8276, 1, 0.001),
        (5.99146, 2, 0.05),
        (13.8155, 2, 0.001),
        (7.81473, 3, 0.05),
        (18.4668, 4, 0.001),
    ],
)
def test_tail_of_chi_square_is_that_of_the_tables(statistic: float, freedom: int, p: float) -> None:
    assert chi_square_tail(statistic, freedom) == pytest.approx(p, rel=1e-4)


def test_chi_square_sees_what_was_not_planned() -> None:
    assert chi_square([5000, 5000], [0.5, 0.5]) == 1.0
    assert chi_square([5200, 4800], [0.5, 0.5]) == pytest.approx(6.33e-5, rel=0.01)
    assert chi_square([], []) == 1.0


def test_factor_is_the_bayes_factor_of_the_counts() -> None:
    """Step by step or at once, it is the Dirichlet-multinomial against the plan; the largest so far counts."""
    rng = np.random.default_rng(1)
    shares = [0.5, 0.3, 0.2]
    order = split(rng, 3000, [0.44, 0.33, 0.23])
    counts = np.bincount(order, minlength=3)
    prior = [1000.0 * share for share in shares]
    factor = lgamma(1000.0) - lgamma(1000.0 + len(order))
    for share, weight, count in zip(shares, prior, counts, strict=True):
        factor += lgamma(weight + count) - lgamma(weight) - count * log(share)
    assert sequential_p(order, shares) <= exp(-factor) < 1e-3
    assert sequential_p(order, shares) == pytest.approx(exp(-factor), rel=0.5)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.4, 0.3, 0.2, 0.1]])
def test_false_alarms_at_every_look_are_at_most_the_promise(shares: list[float]) -> None:
    """At 0.05 instead of ALARM, so that a few hundred runs can tell; each run is looked at after every unit."""
    rng = np.random.default_rng(2)
    runs = 600
    false = sum(sequential_p(split(rng, 5000, shares), shares) < 0.05 for _ in range(runs))
    assert false / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_chi_square_looked_at_daily_cries_wolf_where_the_sequential_test_does_not() -> None:
    rng = np.random.default_rng(3)
    daily, sequential = 0, 0
    for _ in range(300):
        order = split(rng, 6000, [0.5, 0.5])
        ends = np.arange(200, 6001, 200)
        daily += any(chi_square(np.bincount(order[:end], minlength=2).tolist(), [0.5, 0.5]) < 0.05 for end in ends)
        sequential += sequential_p(order, [0.5, 0.5]) < 0.05
    assert daily / 300 > 0.15
    assert sequential / 300 <= 0.05


@pytest.mark.parametrize(("true", "units"), [([0.45, 0.55], 6000), ([0.48, 0.52], 30_000)])
def test_mismatch_raises_an_alarm(true: list[float], units: int) -> None:
    rng = np.random.default_rng(4)
    found = sum(sequential_p(split(rng, units, true), [0.5, 0.5]) < ALARM for _ in range(50))
    assert found >= 48


def test_alarm_stays_when_later_units_even_it_out() -> None:
    order = np.concatenate([np.zeros(400, dtype=int), np.ones(400, dtype=int)])
    assert sequential_p(order, [0.5, 0.5]) < ALARM


def test_units_in_two_variants_are_told() -> None:
    units = arrived(100, 100)
    units["b"][0][:7] = units["a"][0][:7]
    found = sample_ratio({"a": 0.5, "b": 0.5}, units)
    assert found is not None
    assert found.crossed == 7
    assert not found.alarm


def test_stopped_variants_and_those_without_weight_are_left_out() -> None:
    found = sample_ratio({"a": 0.4, "b": 0.4, "c": 0.2}, arrived(1000, 1000))
    assert found is not None
    assert found.expected == {"a": 0.5, "b": 0.5}
    assert found.chi_square_p == 1.0
    assert sample_ratio({"a": 1.0, "b": 0.0}, arrived(10, 0)) is None


def test_no_units_raise_no_alarm() -> None:
    found = sample_ratio({"a": 0.5, "b": 0.5}, arrived(0, 0))
    assert found is not None
    assert not found.alarm
