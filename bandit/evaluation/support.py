"""Whether a log can answer at all: effective sample size, the largest weight, and what the log never tried.

A log answers for a target as far as both draw alike. Where few rounds carry all the weight, or the target draws what
the log never drew, an estimate is a number without meaning, and a sentence says so instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.confidence import Moments, mean_interval

from .estimators import PerArm

LEAST_EFFECTIVE = 100.0  # rounds; below, the usual estimate is off by a tenth of the range and more
MOST_UNSUPPORTED = 0.01  # of the target's draws


@dataclass(frozen=True, slots=True)
class Support:
    """How far the log speaks for a target."""

    rounds: int
    effective_rounds: float  # (sum w)^2 / sum w^2: that many rounds of the target's own would tell as much (Kish 1965)
    largest_weight: float
    mean_weight: float  # near 1 where the logged propensities are those that were drawn with
    unsupported: float  # share of the target's probability on arms that the log gave none
    unsupported_arms: tuple[str, ...]  # the arms concerned, most missed first


def support_of(weights: np.ndarray, arms: PerArm | None = None, names: tuple[str, ...] = ()) -> Support:
    """From the weights of the drawn arms and, where they are known, the probabilities of all."""
    squares = float((weights**2).sum())
    missing = np.zeros(len(names))
    if arms is not None and len(weights):
        missing = np.where(arms.logged > 0, 0.0, arms.target).mean(axis=0)
    order = sorted((place for place in range(len(missing)) if missing[place] > 0), key=lambda place: -missing[place])
    return Support(
        rounds=len(weights),
        effective_rounds=float(weights.sum()) ** 2 / squares if squares > 0 else 0.0,
        largest_weight=float(weights.max()) if len(weights) else 0.0,
        mean_weight=float(weights.mean()) if len(weights) else 0.0,
        unsupported=float(missing.sum()),
        unsupported_arms=tuple(names[place] for place in order),
    )


def refusals(support: Support, target: str, least_effective: float = LEAST_EFFECTIVE) -> tuple[str, ...]:
    """Why the log cannot answer for `target`, in plain sentences; empty where it can."""
    reasons = []
    if support.unsupported > MOST_UNSUPPORTED:
        reasons.append(
            f"{target} puts {support.unsupported:.0%} of its draws on arms that the log never tries in such requests "
            f"({', '.join(support.unsupported_arms)}); what they would have earned is in no log. "
            "Let what acts explore (a floor above 0), test live, or, if a variant without exploration drew these by "
            "chance, leave them out (explored only)"
        )
    if support.effective_rounds < least_effective:
        reasons.append(
            f"only {support.effective_rounds:.0f} of {support.rounds} rounds speak for {target} (effective sample "
            f"size; at least {least_effective:.0f} are needed): the log draws too differently. Take a longer time, or "
            "a log that explores more"
        )
    return tuple(reasons)


def doubts(weights: np.ndarray, support: Support, target: str) -> tuple[str, ...]:
    """What to know beside an answer that can be given."""
    found = []
    ends = mean_interval(Moments.of(weights), 0.001)
    if 1.0 - support.unsupported not in ends:
        found.append(
            f"the weights of {target} have the mean {support.mean_weight:.3f} where it should be "
            f"{1.0 - support.unsupported:.3f}: the logged propensities are not those that arms were drawn with"
        )
    if 0 < support.unsupported <= MOST_UNSUPPORTED:
        found.append(
            f"{support.unsupported:.2%} of the draws of {target} are on arms that the log never tries in such "
            "requests; the estimates take them as worth the lowest reward"
        )
    return tuple(found)
