"""Whether the variants got the share of units that was planned: where they did not, no other number can be trusted.

Two tests. Pearson's chi-square is what platforms show, with an alarm below 0.001, and is right at one look only. The
sequential one decides: the Bayes factor of a Dirichlet prior around the planned shares (Lindon & Malek 2022,
"Anytime-valid inference for multinomial count data"), which may be looked at after every unit; an alarm
once raised stays until the next change of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, exp, pi, sqrt

import numpy as np

ALARM = 0.001
# Of the prior: shares are expected within about 1 / sqrt(this) of the planned ones. Mismatches that matter are small.
_CONCENTRATION = 1000.0


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Both tests. `alarm` is the sequential one's; `crossed` are units that were seen in more than one variant."""

    expected: Mapping[str, float]  # share of units
    units: Mapping[str, int]
    chi_square_p: float
    sequential_p: float  # valid at every look at once
    crossed: int

    @property
    def alarm(self) -> bool:
        return self.sequential_p < ALARM

    @property
    def chi_square_alarm(self) -> bool:
        return self.chi_square_p < ALARM


def sample_ratio(
    expected: Mapping[str, float], units: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> SampleRatio | None:
    """`units`: per variant the numbers of its units and when each was first seen. None with less than two variants.

    Variants that are planned to get nothing are left out, and `expected` need not add up to 1.
    """
    names = [name for name, share in expected.items() if share > 0 and name in units]
    if len(names) < 2:
        return None
    total = sum(expected[name] for name in names)
    shares = [expected[name] / total for name in names]
    counts = [len(units[name][0]) for name in names]
    times = np.concatenate([units[name][1] for name in names])
    arrived = np.repeat(np.arange(len(names)), counts)[np.argsort(times, kind="stable")]
    every = np.concatenate([units[name][0] for name in names])
    return SampleRatio(
        expected=dict(zip(names, shares, strict=True)),
        units=dict(zip(names, counts, strict=True)),
        chi_square_p=chi_square(counts, shares),
        sequential_p=sequential_p(arrived, shares),
        crossed=len(every) - len(np.unique(every)),
    )


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> float:
    """p of Pearson's test of the counts against the shares; 1.0 without any counts."""
    total = sum(counts)
    if not total:
        return 1.0
    statistic = sum((count - total * share) ** 2 / (total * share) for count, share in zip(counts, shares, strict=True))
    return chi_square_tail(statistic, len(counts) - 1)


def sequential_p(arrived: np.ndarray, shares: Sequence[float]) -> float:
    """The smallest 1 / Bayes factor so far, of variants (0, 1, ...) in the order in which their units were first seen.

    After n units the factor grows by (a_i + n_i) / ((A + n) share_i), where a_i = A share_i is the prior's weight of
    the variant that came and n_i how often it had come before.
    """
    count = len(arrived)
    if not count:
        return 1.0
    share = np.asarray(shares, dtype=np.float64)[arrived]
    before = np.zeros(count)
    for variant in range(len(shares)):
        mine = arrived == variant
        before[mine] = np.arange(mine.sum())
    grows = np.log(_CONCENTRATION * share + before) - np.log(_CONCENTRATION + np.arange(count)) - np.log(share)
    return min(1.0, exp(-max(0.0, min(float(np.cumsum(grows).max()), 700.0))))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Probability of at least this of a chi-square variable (Abramowitz & Stegun 1964, Eq. 26.4.4 and 26.4.5)."""
    if statistic <= 0:
        return 1.0
    half = statistic / 2.0
    odd = freedom % 2
    total = erfc(sqrt(half)) if odd else 0.0
    term = 2.0 * sqrt(half / pi) if odd else 1.0
    for step in range(freedom // 2):
        total += term * exp(-half)
        term *= half / (step + (1.5 if odd else 1.0))
    return min(total, 1.0)
