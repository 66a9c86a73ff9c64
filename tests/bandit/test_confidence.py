"""Coverage over all looks at once, by simulation, and what the intervals say when nothing is known."""

from collections.abc import Callable
from math import inf, isinf, sqrt
from random import Random

import numpy as np
import pytest

from bandit.confidence import (
    LEAST_COUNT,
    Interval,
    Moments,
    bounded_mean_interval,
    difference_interval,
    mean_interval,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]

ALPHA = 0.05
RUNS = 1000
LOOKS = (30, 35, 40, 50, 65, 80, 100, 140, 200, 300, 500, 700, 1000, 1400, 2000)
# Of 1,000 runs at a rate of exactly 0.05, more than 67 miss in one of a hundred repetitions.
MOST_MISSES = 67


def rare(rng: np.random.Generator, count: int) -> np.ndarray:
    return (rng.random(count) < 0.05).astype(float)


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=count)


def outliers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Mean 0.2: one value in fifty is ten standard deviations off."""
    return rng.normal(size=count) + 10.0 * (rng.random(count) < 0.02)


def wide_tails(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=count) * np.where(rng.random(count) < 0.05, 5.0, 1.0)


def looks_at(values: np.ndarray) -> list[Moments]:
    """The moments at each look, grown by merging as a running experiment does."""
    answer, moments, last = [], Moments.of([]), 0
    for look in LOOKS:
        moments = moments.merged(Moments.of(values[last:look]))
        answer.append(moments)
        last = look
    return answer


def misses_of_mean(draw: Draw, truth: float, seed: int) -> int:
    rng = np.random.default_rng(seed)
    return sum(
        any(truth not in mean_interval(moments, ALPHA) for moments in looks_at(draw(rng, LOOKS[-1])))
        for _ in range(RUNS)
    )


@pytest.mark.parametrize("draw", [normal, wide_tails])
def test_mean_is_missed_at_any_look_in_at_most_alpha_of_the_runs(draw: Draw) -> None:
    assert misses_of_mean(draw, 0.0, seed=1) <= MOST_MISSES


@pytest.mark.parametrize(("draw", "truth"), [(rare, 0.05), (outliers, 0.2)])
def test_mean_of_skewed_values_is_missed_as_often_as_the_docstring_says(draw: Draw, truth: float) -> None:
    """Asymptotic: at the first looks too few of the rare values were seen to know the spread."""
    assert misses_of_mean(draw, truth, seed=2) <= 0.13 * RUNS


@pytest.mark.parametrize("draw", [normal, rare, outliers, wide_tails])
def test_difference_of_equals_is_significant_at_any_look_in_at_most_alpha_of_the_runs(draw: Draw) -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(RUNS):
        one, other = (looks_at(draw(rng, LOOKS[-1])) for _ in range(2))
        alarms += any(0.0 not in difference_interval(a, b, ALPHA) for a, b in zip(one, other, strict=True))
    assert alarms <= MOST_MISSES


def test_plain_interval_at_the_same_looks_gives_more_false_alarms() -> None:
    """What the width is paid for: 1.96 standard errors at each of these looks miss the mean in a fifth of the runs."""
    rng = np.random.default_rng(4)
    missed = sum(
        any(
            abs(moments.mean) > 1.96 * sqrt(moments.variance / moments.count) for moments in looks_at(normal(rng, 2000))
        )
        for _ in range(RUNS)
    )
    assert missed > 0.15 * RUNS


def test_mean_interval_is_less_than_twice_as_wide_as_a_plain_one_where_it_is_tuned() -> None:
    moments = Moments(count=500, mean=0.0, m2=499.0)
    assert 2 * 1.96 / sqrt(500) < mean_interval(moments, ALPHA).width < 4 * 1.96 / sqrt(500)
    assert mean_interval(moments, ALPHA).width < mean_interval(moments, ALPHA, tuned_at=20).width
    assert mean_interval(moments, ALPHA).width < mean_interval(moments, ALPHA, tuned_at=50_000).width


def test_difference_interval_of_an_uneven_split_is_wider() -> None:
    even = difference_interval(Moments(500, 0.5, 100.0), Moments(500, 0.4, 100.0), ALPHA)
    uneven = difference_interval(Moments(100, 0.5, 20.0), Moments(900, 0.4, 180.0), ALPHA)
    assert (even.low + even.high) / 2 == pytest.approx(0.1)
    assert even.width < uneven.width


def test_time_of_an_uneven_split_is_its_information() -> None:
    """100 and 900 values of equal spread tell as much of the difference as 180 and 180."""
    uneven = difference_interval(Moments(100, 0.5, 19.8), Moments(900, 0.4, 179.8), ALPHA)
    even = difference_interval(Moments(180, 0.5, 35.8), Moments(180, 0.4, 35.8), ALPHA)
    assert uneven.width == pytest.approx(even.width)


def test_values_that_keep_moving_are_looked_at_for_three_thousand_rounds_at_no_more_than_alpha() -> None:
    """100 users a side with one request each round: their number stands still, their means do not."""
    rng, users, rounds, runs = np.random.default_rng(11), 100, 3000, 400
    sums, squares = np.zeros((runs, 2, users)), np.zeros((runs, 2))
    by_units, by_information = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
    for each in range(1, rounds + 1):
        values = rng.standard_normal(sums.shape, dtype=np.float32)
        sums += values
        squares += (values * values).sum(axis=2)
        if each > 100 and each % 10:  # later looks tell little that those beside them do not
            continue
        means = sums.mean(axis=2) / each
        m2 = users * (sums / each).var(axis=2)
        singles = squares / (users * each) - means**2
        error = np.sqrt((m2 / (users - 1) / users).sum(axis=1))
        for run in np.flatnonzero(abs(means[:, 0] - means[:, 1]) > 2.2 * error):  # no interval is narrower
            sides = [Moments(users, float(means[run, side]), float(m2[run, side])) for side in (0, 1)]
            single = float(singles[run, 0]), float(singles[run, 1])
            by_units[run] |= 0.0 not in difference_interval(sides[0], sides[1], ALPHA)
            by_information[run] |= 0.0 not in difference_interval(sides[0], sides[1], ALPHA, single_variances=single)
    assert by_information.mean() <= ALPHA
    assert by_units.mean() > by_information.mean()


def test_information_of_single_values_is_their_count() -> None:
    one, other = Moments(300, 0.5, 100.0), Moments(300, 0.4, 150.0)
    singles = one.variance, other.variance
    with_singles = difference_interval(one, other, ALPHA, single_variances=singles)
    assert with_singles.width == pytest.approx(difference_interval(one, other, ALPHA).width)
    assert mean_interval(one, ALPHA, single_variance=one.variance).width == pytest.approx(
        mean_interval(one, ALPHA).width
    )
    assert difference_interval(one, other, ALPHA, single_variances=(100.0, 150.0)).width > with_singles.width


def test_intervals_are_infinite_while_nothing_is_known() -> None:
    nothing = Interval(-inf, inf)
    rng = Random(5)
    few = Moments.of([rng.random() for _ in range(LEAST_COUNT - 1)])
    many = few.merged(Moments.of([rng.random()]))
    equal = Moments.of([1.0] * 100)
    assert mean_interval(Moments.of([]), ALPHA) == nothing
    assert mean_interval(few, ALPHA) == nothing
    assert mean_interval(equal, ALPHA) == nothing
    assert not isinf(mean_interval(many, ALPHA).width)
    assert difference_interval(many, few, ALPHA) == difference_interval(few, many, ALPHA) == nothing
    assert difference_interval(many, equal, ALPHA) == difference_interval(equal, many, ALPHA) == nothing
    assert mean_interval(many, ALPHA, single_variance=0.0) == nothing
    assert difference_interval(many, many, ALPHA, single_variances=(0.0, 0.0)) == nothing
    assert bounded_mean_interval([], ALPHA, low=-2.0, high=3.0) == Interval(-2.0, 3.0)


def test_merged_moments_equal_those_of_all_values() -> None:
    rng = np.random.default_rng(6)
    values = 1e6 + rng.normal(size=501)
    whole = Moments.of(values)
    merged = Moments.of([])
    for part in np.split(values, [1, 1, 2, 50, 400]):
        merged = merged.merged(Moments.of(part))
    assert merged.count == whole.count == 501
    assert merged.mean == pytest.approx(whole.mean, rel=1e-15)
    assert merged.m2 == pytest.approx(whole.m2, rel=1e-10)
    assert whole.variance == pytest.approx(np.var(values, ddof=1), rel=1e-12)
    assert Moments.of([3.0]).variance == 0.0


@pytest.mark.parametrize("draw", [rare, lambda rng, count: rng.beta(2.0, 5.0, count)])
def test_bounded_mean_is_missed_at_any_look_in_at_most_alpha_of_the_runs(draw: Draw) -> None:
    """The interval intersects all looks, so the last one tells whether any look missed."""
    rng = np.random.default_rng(7)
    truth = 0.05 if draw is rare else 2 / 7
    missed = sum(truth not in bounded_mean_interval(draw(rng, LOOKS[-1]), ALPHA) for _ in range(RUNS))
    assert missed <= ALPHA * RUNS


def test_bounded_interval_narrows_and_follows_its_range() -> None:
    rng = np.random.default_rng(8)
    values = rng.random(2000)
    narrow = bounded_mean_interval(values, ALPHA)
    assert 0.0 < narrow.width < 0.15
    assert narrow.width < bounded_mean_interval(values[:200], ALPHA).width
    moved = bounded_mean_interval(10.0 * values - 5.0, ALPHA, low=-5.0, high=5.0)
    assert (moved.low, moved.high) == pytest.approx((10 * narrow.low - 5, 10 * narrow.high - 5))


def test_bounded_interval_of_a_mean_that_moves_is_not_empty() -> None:
    interval = bounded_mean_interval([0.0] * 2000 + [1.0] * 2000, ALPHA)
    assert interval.low <= interval.high


def test_bad_input_is_refused_with_what_is_allowed() -> None:
    moments = Moments.of([0.0, 1.0] * 50)
    for alpha in (0.0, 1.0, float("nan"), -1.0):
        with pytest.raises(ValueError, match=r"allowed: above 0 and below 1"):
            mean_interval(moments, alpha)
        with pytest.raises(ValueError, match=r"allowed: above 0 and below 1"):
            difference_interval(moments, moments, alpha)
        with pytest.raises(ValueError, match=r"allowed: above 0 and below 1"):
            bounded_mean_interval([0.5], alpha)
    with pytest.raises(ValueError, match="tuned_at is 0"):
        mean_interval(moments, ALPHA, tuned_at=0)
    with pytest.raises(ValueError, match=r"inf.* is not finite"):
        Moments.of([1.0, inf])
    with pytest.raises(ValueError, match=r"nan.* is outside 0.0 to 1.0"):
        bounded_mean_interval([0.5, float("nan")], ALPHA)
    with pytest.raises(ValueError, match=r"1.5.* is outside"):
        bounded_mean_interval([0.5, 1.5], ALPHA)
    with pytest.raises(ValueError, match="low below high"):
        bounded_mean_interval([0.5], ALPHA, low=1.0, high=1.0)
