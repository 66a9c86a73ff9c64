from __future__ import annotations

import numpy as np
import pytest

from bandit.errors import BadTraffic
from bandit.interference.designs import (
    by_block,
    by_request,
    by_slot,
    by_unit,
    in_carry_over,
    split_labels,
    student_quantile,
    switchback_labels,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def times(n: int, runs: int, end_s: float) -> np.ndarray:
    return np.sort(rng().random((n, runs)) * end_s, axis=0)


def test_a_unit_keeps_its_variant_and_the_share_is_kept() -> None:
    unit = rng().integers(0, 500, (20_000, 5))
    label = split_labels(unit, 0.2, rng())
    for run in range(5):
        assert all(len(set(label[unit[:, run] == one, run])) == 1 for one in range(50))
    assert label.mean() == pytest.approx(0.2, abs=0.03)


def test_every_pair_of_slots_holds_both_variants_in_an_order_by_chance() -> None:
    at_s = np.tile(np.arange(0.5, 4000.0)[:, None], (1, 6))
    label = switchback_labels(at_s, 10.0, rng())
    slots = label.reshape(400, 10, 6)
    assert (slots == slots[:, :1]).all()
    pairs = slots[:, 0].reshape(200, 2, 6)
    assert (pairs.sum(axis=1) == 1).all()
    assert pairs[:, 0].mean() == pytest.approx(0.5, abs=0.06)


def test_carry_over_is_the_start_of_each_slot() -> None:
    at_s = np.array([[0.0], [2.9], [3.0], [9.9], [10.0], [13.1]])
    assert in_carry_over(at_s, 10.0, 3.0)[:, 0].tolist() == [True, True, False, False, True, False]


@pytest.mark.parametrize("analysis", ["request", "unit", "slot", "block"])
def test_a_known_difference_is_found_and_covered_as_often_as_promised(analysis: str) -> None:
    """Independent values, treatment 0.3 higher: every analysis is right, and its interval holds 0.3 at 95 %."""
    n, runs, truth = 3000, 300, 0.3
    at_s, unit = times(n, runs, 3000.0), np.tile(np.arange(n)[:, None], (1, runs))
    label = switchback_labels(at_s, 30.0, rng()) if analysis == "slot" else split_labels(unit, 0.5, rng())
    value = rng().gamma(2.0, 0.5, (n, runs)) + truth * label
    keep = at_s > 120.0
    found = {
        "request": lambda: by_request(value, label, keep, 0.05),
        "unit": lambda: by_unit(value, label, unit, keep, 0.05),
        "slot": lambda: by_slot(value, label, at_s, 30.0, 10.0, keep, 0.05),
        "block": lambda: by_block(value, label, at_s, 60.0, keep, 0.05),
    }[analysis]()
    assert found.difference.mean() == pytest.approx(truth, abs=4 * found.difference.std() / runs**0.5)
    assert found.covers(truth).mean() == pytest.approx(0.95, abs=0.045)
    assert found.covers_at_any_time(truth).mean() >= found.covers(truth).mean()
    assert found.covers(0.0).mean() < 0.5


def test_requests_of_one_user_are_not_independent_and_by_unit_knows() -> None:
    n, runs = 4000, 200
    unit = rng().integers(0, 200, (n, runs))
    label = split_labels(unit, 0.5, rng())
    value = rng().normal(0.0, 1.0, (200, runs))[unit, np.arange(runs)] + rng().normal(0.0, 1.0, (n, runs))
    keep = np.ones((n, runs), dtype=bool)
    assert by_request(value, label, keep, 0.05).covers(0.0).mean() < 0.6
    assert by_unit(value, label, unit, keep, 0.05).covers(0.0).mean() == pytest.approx(0.95, abs=0.05)


def test_what_is_carried_over_is_dropped() -> None:
    """The first third of each slot still shows the other variant's value: all kept finds a third less and worse."""
    at_s = times(6000, 20, 3000.0)
    label = switchback_labels(at_s, 30.0, rng())
    previous = switchback_before(at_s, label)
    value = np.where(in_carry_over(at_s, 30.0, 10.0), previous, label).astype(np.float64)
    value += rng().normal(0.0, 0.1, value.shape)
    keep = at_s > 60.0
    assert by_slot(value, label, at_s, 30.0, 10.0, keep, 0.05).difference.mean() == pytest.approx(1.0, abs=0.02)
    assert by_slot(value, label, at_s, 30.0, 0.0, keep, 0.05).difference.mean() < 0.75


def switchback_before(at_s: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The variant of the slot before each request's."""
    before = label.copy()
    for run in range(at_s.shape[1]):
        slot = (at_s[:, run] // 30.0).astype(int)
        variant = {number: label[slot == number, run][0] for number in np.unique(slot)}
        before[:, run] = [variant.get(number - 1, variant[number]) for number in slot]
    return before


def test_pairs_cut_by_the_warm_up_or_the_end_are_left_out() -> None:
    at_s = np.arange(0.5, 135.0)[:, None]
    label = switchback_labels(at_s, 10.0, rng())
    value = label.astype(np.float64)
    value[:20] = value[120:] = 100.0  # the pair under the warm-up, and the one that the end cuts
    found = by_slot(value, label, at_s, 10.0, 0.0, at_s > 5.0, 0.05)
    assert found.difference[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("degrees", "published"), [(5, 2.5706), (10, 2.2281), (39, 2.0227), (1000, 1.9623)])
def test_students_quantile_is_the_published_one(degrees: int, published: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(published, rel=0.002)


def test_too_few_pairs_and_slots_that_cannot_be_are_refused() -> None:
    at_s = times(200, 1, 100.0)
    label = switchback_labels(at_s, 10.0, rng())
    with pytest.raises(BadTraffic, match="whole pairs"):
        by_slot(label.astype(float), label, at_s, 10.0, 2.0, at_s >= 0, 0.05)
    with pytest.raises(BadTraffic, match="carry_over_s"):
        in_carry_over(at_s, 10.0, 10.0)
    with pytest.raises(BadTraffic, match="share"):
        split_labels(np.zeros((3, 1), dtype=int), 1.0, rng())
