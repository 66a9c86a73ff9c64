"""Three designs of the same experiment, and what each makes of the outcomes.

split        every request (or user) has its variant by a fair draw; all share the tiers
switchback   one variant has all traffic for a slot of time; slots come in pairs of random order; what arrives in the
             carry-over part of a slot meets the queue that the other variant left, and is dropped
pools        every variant has replicas of its own, and a share of the traffic like its share of them

Each analysis answers for all runs at once: the difference treatment - control, an interval for one look at the end,
and the one that holds at every look (`bandit.confidence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bandit.confidence import Interval, Moments, difference_interval, mean_interval
from bandit.errors import BadTraffic

from .outcomes import Labels
from .traffic import Floats, Ints


@dataclass(frozen=True, slots=True)
class Estimates:
    """Of every run; all fields are [R]."""

    difference: Floats
    low: Floats  # one look at the end
    high: Floats
    anytime_low: Floats  # at every look
    anytime_high: Floats

    def covers(self, truth: float | Floats) -> NDArray[np.bool_]:
        """In which runs the interval of the one look holds the truth."""
        return (self.low <= truth) & (truth <= self.high)

    def covers_at_any_time(self, truth: float | Floats) -> NDArray[np.bool_]:
        """In which runs the anytime-valid interval does."""
        return (self.anytime_low <= truth) & (truth <= self.anytime_high)


def split_labels(unit: Ints, share: float, rng: np.random.Generator) -> Labels:
    """1 (treatment) for `share` of the units, 0 for the rest; `unit` [n, R], units of one run are its own."""
    _check_share(share)
    runs = np.arange(unit.shape[1])
    return (rng.random((int(unit.max()) + 1, unit.shape[1])) < share)[unit, runs].astype(np.int8)


def switchback_labels(at_s: Floats, slot_s: float, rng: np.random.Generator) -> Labels:
    """Each pair of slots holds both variants, in a random order."""
    _check_slot(slot_s, 0.0)
    slot = _slot(at_s, slot_s)
    first = rng.integers(0, 2, (int(slot.max()) // 2 + 1, at_s.shape[1]))
    return (first[slot // 2, np.arange(at_s.shape[1])] ^ (slot % 2)).astype(np.int8)


def in_carry_over(at_s: Floats, slot_s: float, carry_over_s: float) -> NDArray[np.bool_]:
    """Whether a request arrived while the other variant's queue may still have been there."""
    _check_slot(slot_s, carry_over_s)
    return at_s % slot_s < carry_over_s


def by_request(value: Floats, label: Labels, keep: NDArray[np.bool_], alpha: float) -> Estimates:
    """Requests as independent units: what most dashboards do. `keep` [n, R] leaves out the warm-up."""
    moments = [
        [Moments.of(value[keep[:, run] & (label[:, run] == variant), run]) for variant in (0, 1)]
        for run in range(value.shape[1])
    ]
    return _two_samples(moments, alpha)


def by_unit(value: Floats, label: Labels, unit: Ints, keep: NDArray[np.bool_], alpha: float) -> Estimates:
    """The same difference of means over requests, with units (users) as what is independent.

    A mean over requests is a ratio of two totals over units; its spread is that of the linearised unit totals
    (delta method; Deng, Knoblich & Lu 2018, "Applying the delta method in metric analytics", Section 3.1).
    """
    moments = []
    for run in range(value.shape[1]):
        pair = []
        for variant in (0, 1):
            mine = keep[:, run] & (label[:, run] == variant)
            _, index = np.unique(unit[mine, run], return_inverse=True)
            mean = value[mine, run].mean()
            total = np.bincount(index, value[mine, run] - mean)
            scaled = total * len(total) / mine.sum()  # mean 0, and the mean's spread per unit
            pair.append(Moments(len(total), float(mean), float((scaled**2).sum())))
        moments.append(pair)
    return _two_samples(moments, alpha)


def by_slot(
    value: Floats,
    label: Labels,
    at_s: Floats,
    slot_s: float,
    carry_over_s: float,
    keep: NDArray[np.bool_],
    alpha: float,
) -> Estimates:
    """Pairs of slots as units: the difference of the two slots' means, carry-over dropped, Student's t over pairs."""
    counted = keep & ~in_carry_over(at_s, slot_s, carry_over_s)
    rows = []
    for run in range(value.shape[1]):
        mine = counted[:, run]
        # A pair that the warm-up or the end of the run cuts is left out.
        begin, end = at_s[keep[:, run], run].min(), at_s[-1, run]
        pairs = np.arange(np.ceil(begin / (2 * slot_s) - 1e-9), np.floor(end / (2 * slot_s)), dtype=np.int64)
        rows.append(_paired(value[mine, run], label[mine, run], _slot(at_s[mine, run], 2 * slot_s), pairs, alpha))
    return _gather(rows)


def by_block(
    value: Floats, label: Labels, at_s: Floats, block_s: float, keep: NDArray[np.bool_], alpha: float
) -> Estimates:
    """For pools: the difference of the variants' means in every block of time, Student's t over blocks.

    All requests of a pool share one queue: as units they would be counted for many times what they tell.
    """
    _check_slot(block_s, 0.0)
    rows = []
    for run in range(value.shape[1]):
        mine = keep[:, run]
        begin, end = at_s[mine, run].min(), at_s[-1, run]
        blocks = np.arange(np.ceil(begin / block_s - 1e-9), np.floor(end / block_s), dtype=np.int64)
        rows.append(_paired(value[mine, run], label[mine, run], _slot(at_s[mine, run], block_s), blocks, alpha))
    return _gather(rows)


def student_quantile(probability: float, degrees: int) -> float:
    """Student's t, by the expansion around the normal (Abramowitz & Stegun 26.7.5); to 1 % from 4 degrees on."""
    z = NormalDist().inv_cdf(probability)
    g = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees ** (power + 1) for power, term in enumerate(g))


def _two_samples(moments: list[list[Moments]], alpha: float) -> Estimates:
    z = NormalDist().inv_cdf(1 - alpha / 2)
    rows = []
    for control, treatment in moments:
        if min(control.count, treatment.count) < 2:
            raise BadTraffic(
                f"a variant has {min(control.count, treatment.count)} units; needed: 2, better 100 or more"
            )
        half = z * (control.variance / control.count + treatment.variance / treatment.count) ** 0.5
        # As if the size was known beforehand, which is the anytime-valid interval's best case.
        planned = control.count + treatment.count
        anytime = difference_interval(treatment, control, alpha, tuned_at=planned)
        rows.append((treatment.mean - control.mean, half, anytime))
    return _gather(rows)


def _paired(value: Floats, label: Labels, pair: Ints, pairs: Ints, alpha: float) -> tuple[float, float, Interval]:
    kind = 2 * pair + label
    size = max(int(kind.max(initial=0)), int(2 * pairs.max(initial=0)) + 1) + 1
    count, total = np.bincount(kind, minlength=size), np.bincount(kind, value, minlength=size)
    pairs = pairs[(count[2 * pairs] > 0) & (count[2 * pairs + 1] > 0)]
    if len(pairs) < 5:
        raise BadTraffic(f"{len(pairs)} whole pairs of slots, or blocks, of traffic; needed: 5, better 30 or more")
    mean = total / np.maximum(count, 1)
    moments = Moments.of(mean[2 * pairs + 1] - mean[2 * pairs])
    half = student_quantile(1 - alpha / 2, moments.count - 1) * (moments.variance / moments.count) ** 0.5
    # As if the number was known beforehand, which is the anytime-valid interval's best case.
    return moments.mean, half, mean_interval(moments, alpha, tuned_at=moments.count)


def _gather(rows: list[tuple[float, float, Interval]]) -> Estimates:
    difference, half = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    low, high = np.array([row[2].low for row in rows]), np.array([row[2].high for row in rows])
    return Estimates(difference, difference - half, difference + half, low, high)


def _slot(at_s: Floats, slot_s: float) -> Ints:
    return (at_s // slot_s).astype(np.int64)


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise BadTraffic(f"the treatment's share is {share!r}; allowed: above 0 and below 1")


def _check_slot(slot_s: float, carry_over_s: float) -> None:
    if not 0 <= carry_over_s < slot_s:
        raise BadTraffic(f"slot_s is {slot_s!r}, carry_over_s {carry_over_s!r}; allowed: 0 <= carry_over_s < slot_s")
