"""One variant in numbers: counts, values and intervals. From arrays of observations; no journal, no clock.

A unit's requests hang together, so the unit is what is counted. A metric is the ratio of two sums over units (of values
and of requests), linearised: L_i = R + (S_i - R N_i) / mean(N), whose mean is the ratio R and whose variance is that of
the delta method (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics", Section 3; Budylin et al.
2018, "Consistent transformation of ratio metrics for efficient online controlled experiments", Eq. 4).

Units that keep asking are no new ones, but their values move, and a look at them is one more look. So time is not
counted in units but in information, for which the variance of single requests is kept (`confidence.py`).

In a switchback the unit is the slot: its value is that of its requests, and slots of one block are compared with one
another, so that a drift slower than a block counts for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bandit.confidence import Interval, Moments, difference_interval, mean_interval

from .metrics import METRICS
from .observations import CANCELLED, FAILED, PENDING, SERVED, Observations
from .quantiles import quantile, quantile_difference, quantile_interval
from .skewness import of_difference, of_mean, skewness


@dataclass(frozen=True, slots=True)
class Measures:
    """What is known of one variant. `tuned_at`: units of two variants at which intervals are narrowest."""

    exposures: int
    units: int  # users, requests or, in a switchback, slots
    served: int
    failed: int  # failed or refused
    cancelled: int
    pending: int  # no outcome yet
    scored: int  # served, and their quality was measured
    fallbacks: int  # decided by another policy, as the variant's misbehaved
    failed_units: int  # units with at least one failure
    failed_shares: np.ndarray  # of each unit with an outcome, the share of its requests that failed, oldest unit first
    moments: Mapping[str, Moments]  # per metric that is a mean, over units
    values: Mapping[str, float | None]
    waits_s: np.ndarray  # of what was served, ascending
    wait_units: int  # units with something served
    unit_numbers: np.ndarray  # [units], empty in a switchback ...
    first_s: np.ndarray  # ... and the time of each one's first exposure
    blocks: Mapping[str, np.ndarray] = field(default_factory=dict)  # switchback: per metric the value of each block
    skews: Mapping[str, float] = field(default_factory=dict)  # of the values behind `moments`
    single_variances: Mapping[str, float] = field(default_factory=dict)  # per mean, of single requests; by unit only
    tuned_at: int = 500

    def interval(self, metric: str, alpha: float) -> Interval:
        """Of the variant's own value."""
        p = METRICS[metric].quantile
        if p is None or self.blocks:
            single, tuned_at = self.single_variances.get(metric), max(self.tuned_at // 2, 1)
            return mean_interval(self.moments[metric], alpha, tuned_at=tuned_at, single_variance=single)
        return quantile_interval(self.waits_s, p, alpha, self.wait_units)

    def measured_units(self, metric: str) -> int:
        """Units, or slots of a switchback, of which there is a value."""
        return self.moments[metric].count if metric in self.moments else self.wait_units

    def difference(self, metric: str, control: Measures, alpha: float, *, factor: float = 1.0) -> Interval:
        """Of the variant's value minus `factor` times the control's."""
        if self.blocks:
            gaps = self.blocks[metric] - factor * control.blocks[metric]
            return mean_interval(Moments.of(gaps[~np.isnan(gaps)]), alpha, tuned_at=max(self.tuned_at // 2, 1))
        p = METRICS[metric].quantile
        if p is not None:
            units = self.wait_units, control.wait_units
            return quantile_difference(self.waits_s, control.waits_s, p, alpha, units=units, factor=factor)
        other = control.moments[metric]
        scaled = Moments(other.count, factor * other.mean, factor * factor * other.m2)
        single = self.single_variances[metric], factor * factor * control.single_variances[metric]
        return difference_interval(self.moments[metric], scaled, alpha, tuned_at=self.tuned_at, single_variances=single)

    def skew(self, metric: str) -> float:
        """Of the mean that `interval` is about; quantiles need no shape."""
        return of_mean(self.moments[metric], self.skews.get(metric, 0.0)) if self._is_mean(metric) else 0.0

    def skew_of_difference(self, metric: str, control: Measures, *, factor: float = 1.0) -> float:
        """Of the difference of means that `difference` is about."""
        if not self._is_mean(metric):
            return 0.0
        if self.blocks:
            gaps = self.blocks[metric] - factor * control.blocks[metric]
            gaps = gaps[~np.isnan(gaps)]
            return of_mean(Moments.of(gaps), skewness(gaps))
        other = control.moments[metric]
        scaled = Moments(other.count, factor * other.mean, factor * factor * other.m2)
        skews = self.skews.get(metric, 0.0), control.skews.get(metric, 0.0)
        return of_difference(self.moments[metric], scaled, skews)

    def _is_mean(self, metric: str) -> bool:
        return bool(self.blocks) or METRICS[metric].quantile is None


def measure(seen: Observations, *, tuned_at: int = 500) -> Measures:
    """A variant whose units were assigned by hash."""
    arrays = _arrays(seen)
    numbers, first = np.unique(seen.unit, return_index=True)
    waits = np.sort(seen.wait_s[seen.status == SERVED])
    by_unit = {name: linearised(seen.unit, values) for name, values in arrays.items()}
    moments = {name: Moments.of(one) for name, one in by_unit.items()}
    values: dict[str, float | None] = {name: one.mean if one.count else None for name, one in moments.items()}
    for name, metric in METRICS.items():
        if metric.quantile is not None:
            values[name] = quantile(waits, metric.quantile)
    return _measures(
        seen,
        units=len(numbers),
        moments=moments,
        values=values,
        waits_s=waits,
        first=(numbers, seen.at_s[first]),
        skews={name: skewness(one) for name, one in by_unit.items()},
        single_variances={name: Moments.of(values[~np.isnan(values)]).variance for name, values in arrays.items()},
        tuned_at=tuned_at,
    )


def measure_slots(
    seen: Observations, slot: np.ndarray, block: np.ndarray, *, blocks: int, tuned_at: int = 500
) -> Measures:
    """A variant of a switchback. `slot`, `block`: of each observation; blocks are 0, 1, ... and the same for all."""
    arrays = _arrays(seen)
    slots, place = np.unique(slot, return_inverse=True)
    block_of_slot = np.zeros(len(slots), dtype=np.int64)
    block_of_slot[place] = block
    by_slot = {name: _slot_means(place, values, len(slots)) for name, values in arrays.items()}
    served = seen.status == SERVED
    for name, metric in METRICS.items():
        if metric.quantile is not None:
            by_slot[name] = _slot_quantiles(place[served], seen.wait_s[served], len(slots), metric.quantile)
    by_block, moments, skews, values = {}, {}, {}, dict[str, float | None]()
    for name, value in by_slot.items():
        by_block[name] = np.full(blocks, np.nan)
        by_block[name][block_of_slot] = value
        there = value[~np.isnan(value)]
        moments[name], skews[name] = Moments.of(there), skewness(there)  # each slot counts alike, however many came
        values[name] = moments[name].mean if moments[name].count else None
    return _measures(
        seen,
        units=len(slots),
        moments=moments,
        values=values,
        waits_s=np.sort(seen.wait_s[served]),
        first=(np.zeros(0, dtype=np.int64), np.zeros(0)),
        skews=skews,
        tuned_at=tuned_at,
        blocks=by_block,
    )


def unit_moments(unit: np.ndarray, values: np.ndarray) -> Moments:
    """Of the linearised ratio."""
    return Moments.of(linearised(unit, values))


def linearised(unit: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The ratio, one value per unit; requests without a value (NaN) are in neither sum."""
    there = ~np.isnan(values)
    _, place = np.unique(unit[there], return_inverse=True)
    counts = np.bincount(place)
    if not len(counts):
        return np.zeros(0)
    sums = np.bincount(place, weights=values[there])
    ratio = sums.sum() / counts.sum()
    return ratio + (sums - ratio * counts) / counts.mean()


def _arrays(seen: Observations) -> dict[str, np.ndarray]:
    """Per metric that is a mean, one value per exposure, NaN where it does not count."""
    served, lost = seen.status == SERVED, (seen.status == FAILED) | (seen.status == CANCELLED)
    return {
        "utility": seen.utility,
        "quality": seen.quality,
        "latency_s": np.where(served, seen.wait_s, np.nan),
        "cost_usd": seen.cost_usd,
        "error_rate": np.where(seen.status == PENDING, np.nan, lost.astype(np.float64)),
        "rating": seen.rating,
    }


def _failed_shares(seen: Observations) -> np.ndarray:
    settled = seen.status != PENDING
    _, place = np.unique(seen.unit[settled], return_inverse=True)
    failed = np.bincount(place, weights=seen.status[settled] != SERVED)
    return failed / np.bincount(place) if len(place) else failed


def _slot_means(place: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    there = ~np.isnan(values)
    sums = np.bincount(place[there], weights=values[there], minlength=count)
    counts = np.bincount(place[there], minlength=count)
    return np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0)


def _slot_quantiles(place: np.ndarray, values: np.ndarray, count: int, p: float) -> np.ndarray:
    order = np.lexsort((values, place))
    ordered, ends = values[order], np.cumsum(np.bincount(place, minlength=count))
    found = np.full(count, np.nan)
    start = 0
    for number, end in enumerate(ends.tolist()):
        value = quantile(ordered[start:end], p)
        found[number] = np.nan if value is None else value
        start = end
    return found


def _measures(
    seen: Observations,
    *,
    units: int,
    moments: Mapping[str, Moments],
    values: Mapping[str, float | None],
    waits_s: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    skews: Mapping[str, float],
    tuned_at: int,
    single_variances: Mapping[str, float] | None = None,
    blocks: Mapping[str, np.ndarray] | None = None,
) -> Measures:
    served = seen.status == SERVED
    return Measures(
        exposures=len(seen.unit),
        units=units,
        served=int(served.sum()),
        failed=int((seen.status == FAILED).sum()),
        cancelled=int((seen.status == CANCELLED).sum()),
        pending=int((seen.status == PENDING).sum()),
        scored=int((~np.isnan(seen.quality)).sum()),
        fallbacks=int(seen.fallback.sum()),
        failed_units=len(np.unique(seen.unit[(seen.status == FAILED) | (seen.status == CANCELLED)])),
        failed_shares=_failed_shares(seen),
        moments=moments,
        values=values,
        waits_s=waits_s,
        wait_units=len(np.unique(seen.unit[served])),
        unit_numbers=first[0],
        first_s=first[1],
        blocks=blocks or {},
        skews=skews,
        single_variances=single_variances or {},
        tuned_at=tuned_at,
    )
