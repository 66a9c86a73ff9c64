"""One variant in numbers: per unit, also where units ask more than once."""

import numpy as np
import pytest

from bandit.experiments.measures import measure, measure_slots, unit_moments
from bandit.experiments.metrics import METRICS
from bandit.experiments.observations import CANCELLED, FAILED, PENDING, SERVED, Observations


def observed(unit: np.ndarray, utility: np.ndarray, **more: np.ndarray) -> Observations:
    count = len(unit)
    given = {
        "unit": np.asarray(unit),
        "at_s": np.arange(count, dtype=float),
        "status": np.full(count, SERVED, dtype=np.int8),
        "wait_s": np.ones(count),
        "cost_usd": np.full(count, 0.01),
        "quality": np.asarray(utility, dtype=float),
        "rating": np.full(count, np.nan),
        "utility": np.asarray(utility, dtype=float),
        "fallback": np.zeros(count, dtype=bool),
    }
    return Observations(**(given | more))


def test_counts_and_values_are_those_of_the_rows() -> None:
    status = np.array([SERVED, SERVED, FAILED, CANCELLED, PENDING, SERVED], dtype=np.int8)
    nan = np.nan
    found = measure(
        observed(
            np.array([4, 4, 9, 9, 7, 7]),
            np.array([0.8, 0.4, -0.2, nan, nan, nan]),
            status=status,
            wait_s=np.array([1.0, 3.0, 2.0, 5.0, nan, 2.0]),
            quality=np.array([0.9, 0.5, nan, nan, nan, nan]),
        )
    )
    assert (found.exposures, found.units, found.served, found.failed, found.cancelled, found.pending) == (
        6,
        3,
        3,
        1,
        1,
        1,
    )
    assert (found.scored, found.failed_units, found.wait_units) == (2, 1, 2)  # unit 9 failed, and left as well
    assert found.values["utility"] == pytest.approx((0.8 + 0.4 - 0.2) / 3)
    assert found.values["quality"] == pytest.approx(0.7)
    assert found.values["latency_s"] == pytest.approx(2.0)
    assert found.values["error_rate"] == pytest.approx(2 / 5)  # who leaves got no image either
    assert found.values["latency_p50_s"] == 2.0
    assert found.values["rating"] is None
    assert found.unit_numbers.tolist() == [4, 7, 9]
    assert found.first_s.tolist() == [0.0, 4.0, 2.0]


def test_ratio_is_the_mean_of_all_requests_and_its_variance_that_of_resampled_units() -> None:
    """The bootstrap over units is the reference: whoever takes requests for independent is far too sure."""
    rng = np.random.default_rng(9)
    users = 400
    counts = 1 + rng.poisson(rng.gamma(1.0, 6.0, size=users))
    levels = rng.normal(0.5, 0.2, size=users) + 0.02 * counts  # whoever asks often is also better served
    unit = np.repeat(np.arange(users), counts)
    values = rng.normal(levels[unit], 0.1)
    moments = unit_moments(unit, values)
    assert moments.count == users
    assert moments.mean == pytest.approx(values.mean())
    sums = np.bincount(unit, weights=values)
    drawn = rng.integers(users, size=(2000, users))
    bootstrap = (sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)).std()
    assert (moments.variance / moments.count) ** 0.5 == pytest.approx(bootstrap, rel=0.1)
    assert (values.var() / len(values)) ** 0.5 < bootstrap / 2


def test_requests_without_a_value_are_in_neither_sum() -> None:
    moments = unit_moments(np.array([1, 1, 2, 3]), np.array([1.0, np.nan, 3.0, np.nan]))
    assert (moments.count, moments.mean) == (2, 2.0)
    assert unit_moments(np.array([1]), np.array([np.nan])).count == 0


def test_nothing_seen_is_no_error() -> None:
    found = measure(observed(np.zeros(0, dtype=np.int64), np.zeros(0)))
    other = measure(observed(np.arange(50), np.arange(50.0)))
    for metric in METRICS:
        assert found.interval(metric, 0.05).width == np.inf
        assert other.difference(metric, found, 0.05).width == np.inf


def test_requests_of_the_same_users_are_further_looks_though_no_user_is_new() -> None:
    """A boundary that knows only the number of users stays at the same number of standard errors for ever."""
    rng = np.random.default_rng(12)

    def errors_wide(each: int) -> tuple[float, float]:
        unit = np.repeat(np.arange(200), each)
        old, new = (measure(observed(unit, rng.normal(size=len(unit)))) for _ in range(2))
        own, other = old.moments["utility"], new.moments["utility"]
        error = (own.variance / own.count + other.variance / other.count) ** 0.5
        alone = (own.variance / own.count) ** 0.5
        widths = new.difference("utility", old, 0.05).width, old.interval("utility", 0.05).width
        return widths[0] / 2 / error, widths[1] / 2 / alone

    once, often = errors_wide(1), errors_wide(1000)
    assert all(later > first + 0.5 for first, later in zip(once, often, strict=True))


def slotted(rng: np.random.Generator, gain: float, drift: float, blocks: int = 60) -> tuple[dict, np.ndarray]:  # type: ignore[type-arg]
    found = {}
    levels = drift * np.sin(np.arange(2 * blocks) / 20.0)
    for place, name in enumerate("ab"):
        slots = np.repeat(2 * np.arange(blocks) + place, 20)
        utility = levels[slots] + gain * place + rng.normal(0, 0.1, size=len(slots))
        seen = observed(np.arange(len(slots)), utility)
        found[name] = measure_slots(seen, slots, slots // 2, blocks=blocks)
    return found, levels


def test_slots_of_one_block_are_compared_so_that_a_drift_counts_for_nobody() -> None:
    rng = np.random.default_rng(10)
    found, levels = slotted(rng, gain=0.1, drift=1.0)
    interval = found["b"].difference("utility", found["a"], 0.05)
    assert 0.1 in interval
    assert interval.width < 0.12
    assert levels.std() > 0.5
    assert found["a"].units == 60


def test_block_that_misses_a_slot_is_left_out() -> None:
    rng = np.random.default_rng(11)
    slots = np.repeat(np.arange(80), 5)
    whole = measure_slots(observed(np.arange(400), rng.normal(size=400)), slots, slots, blocks=100)
    half = measure_slots(observed(np.arange(400), rng.normal(size=400)), slots + 20, slots + 20, blocks=100)
    both = ~np.isnan(whole.blocks["utility"]) & ~np.isnan(half.blocks["utility"])
    assert both.sum() == 60
    assert half.difference("utility", whole, 0.05).width < np.inf
    assert 0.0 in half.difference("latency_p95_s", whole, 0.05)
