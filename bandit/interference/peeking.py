"""Looking every day: how often an A/A looks like a winner, and what an interval that may be looked at costs.

The values are utilities of simulated requests at a load of 0.85, drawn anew for every run: skewed as in life, and
independent, as requests of a plain split are where both variants are the same policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

from bandit.confidence import Moments, difference_interval

from .lockstep import simulate
from .routing import Greedy
from .tiers import TIERS, capacity_per_s
from .traffic import Floats, Traffic, draw

DEFAULT_TUNED_AT = 500  # of `difference_interval`


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Of A/A experiments that are looked at once a day. Shares of runs, at alpha; `by_look` up to each day."""

    runs: int
    looks: int
    per_look: int  # requests per variant and day
    alpha: float
    plain_any_look: float  # a plain z-test, stopped at the first look that says there is a winner
    plain_any_look_se: float
    plain_last_look: float  # the z-test as it is meant: one look, at the end
    anytime_any_look: float
    anytime_any_look_se: float
    anytime_last_look: float
    plain_by_look: tuple[float, ...]
    anytime_by_look: tuple[float, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Price:
    """How long each way takes to find a true effect, in requests per variant."""

    effect: float  # in standard deviations of the values
    power: float
    tuned_at: int
    fixed: float  # a z-test of this power at alpha, its one look planned beforehand
    anytime_power: float  # requests by which that share of the runs was stopped by the anytime-valid interval
    anytime_mean: float  # mean over the runs; those never stopped count as long as they were followed
    stopped: float  # share of the runs that were
    wrong: float  # share of the runs stopped with the wrong winner

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def utilities(seed: int, load: float = 0.85) -> Floats:
    """Some 10,000 utilities of requests under one policy at this load."""
    requests = draw(Traffic(load * capacity_per_s(TIERS), 100.0), 20, np.random.default_rng(seed))
    outcomes = simulate(TIERS, requests, [Greedy()], np.zeros(requests.at_s.shape, dtype=np.int8))
    return outcomes.utility[requests.at_s > 50.0]


def false_alarms(runs: int, seed: int, looks: int = 30, per_look: int = 200, alpha: float = 0.05) -> FalseAlarms:
    """A/A: every run that ends with a winner is a false alarm."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    plain, anytime = np.zeros((looks, runs), dtype=bool), np.zeros((looks, runs), dtype=bool)
    for look, sides in enumerate(_looks(utilities(seed), runs, looks, per_look, 0.0, np.random.default_rng(seed))):
        for run, (treatment, control) in enumerate(sides):
            spread = (treatment.variance / treatment.count + control.variance / control.count) ** 0.5
            plain[look, run] = abs(treatment.mean - control.mean) > z * spread
            anytime[look, run] = 0.0 not in difference_interval(treatment, control, alpha)
    ever = [np.logical_or.accumulate(flags).mean(axis=1) for flags in (plain, anytime)]
    return FalseAlarms(
        runs=runs,
        looks=looks,
        per_look=per_look,
        alpha=alpha,
        plain_any_look=float(ever[0][-1]),
        plain_any_look_se=float((ever[0][-1] * (1 - ever[0][-1]) / runs) ** 0.5),
        plain_last_look=float(plain[-1].mean()),
        anytime_any_look=float(ever[1][-1]),
        anytime_any_look_se=float((ever[1][-1] * (1 - ever[1][-1]) / runs) ** 0.5),
        anytime_last_look=float(anytime[-1].mean()),
        plain_by_look=tuple(float(share) for share in ever[0]),
        anytime_by_look=tuple(float(share) for share in ever[1]),
    )


def price(
    effect: float,
    runs: int,
    seed: int,
    tuned_at: int = DEFAULT_TUNED_AT,
    alpha: float = 0.05,
    power: float = 0.8,
    looks_per_fixed: int = 40,
    longest: float = 4.0,
) -> Price:
    """Follow an A/B of a true effect until the anytime-valid interval leaves 0, at most `longest` times the fixed."""
    normal = NormalDist()
    fixed = 2 * ((normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) / effect) ** 2
    per_look = max(1, round(fixed / looks_per_fixed))
    looks = round(longest * looks_per_fixed)
    end = np.full(runs, np.inf)
    wrong = np.zeros(runs, dtype=bool)
    pool = utilities(seed)
    sides_by_look = _looks(pool, runs, looks, per_look, effect * float(pool.std()), np.random.default_rng(seed))
    for look, sides in enumerate(sides_by_look, start=1):
        for run in np.flatnonzero(np.isinf(end)):
            interval = difference_interval(*sides[run], alpha, tuned_at=tuned_at)
            if 0.0 not in interval:
                end[run], wrong[run] = look * per_look, (interval.high < 0) == (effect > 0)
        if np.isfinite(end).all():
            break
    return Price(
        effect=effect,
        power=power,
        tuned_at=tuned_at,
        fixed=fixed,
        anytime_power=float(np.quantile(end, power, method="higher")),
        anytime_mean=float(np.minimum(end, looks * per_look).mean()),
        stopped=float(np.isfinite(end).mean()),
        wrong=float(wrong.mean()),
    )


def _looks(
    pool: Floats, runs: int, looks: int, per_look: int, shift: float, rng: np.random.Generator
) -> Iterator[list[tuple[Moments, Moments]]]:
    """At every look, what is known by then of treatment and control in each run."""
    count, centre = 0, float(pool.mean())  # sums of centred values keep their digits
    total, squares = np.zeros((2, runs)), np.zeros((2, runs))
    for _ in range(looks):
        values = pool[rng.integers(0, len(pool), (2, runs, per_look), dtype=np.int32)] - centre
        values[0] += shift
        total += values.sum(axis=2)
        squares += (values**2).sum(axis=2)
        count += per_look
        mean, m2 = total / count, squares - total**2 / count
        yield [
            (Moments(count, mean[0, run], m2[0, run]), Moments(count, mean[1, run], m2[1, run])) for run in range(runs)
        ]
