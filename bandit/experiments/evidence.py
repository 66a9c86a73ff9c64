"""E-values for counts: how strongly so many of so many speak against a rate. Exact at every count and every look.

An e-value of 1 / alpha or more may be acted on at the first look that shows it: under the null hypothesis that ever
happens with probability at most alpha (Ville's inequality). Each is a mixture of likelihood ratios over a fixed grid of
alternatives, and a mixture over a grid is as valid as one over a density.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

_ODDS = np.exp(np.linspace(np.log(1.05), np.log(400.0), 120))  # alternatives, as multiples of the null's odds


def rate_above(events: int, trials: int, most: float) -> float:
    """Evidence that events come with a probability above `most`, a number between 0 and 1.

    One-sided: each alternative is above `most`, and its likelihood ratio is a supermartingale for every rate up to it.
    """
    if not 0 < most < 1:
        raise ValueError(f"a rate of {most!r} cannot be exceeded or undercut; allowed: above 0 and below 1")
    odds = most / (1.0 - most) * _ODDS
    alternative = odds / (1.0 + odds)
    ratios = events * np.log(alternative / most) + (trials - events) * np.log((1.0 - alternative) / (1.0 - most))
    largest = float(ratios.max())
    return exp(min(largest + log(float(np.exp(ratios - largest).mean())), 700.0))


def events_above(treatment: int, control: int, weights: tuple[float, float], factor: float = 1.0) -> float:
    """Evidence that a unit of the treatment has the event more than `factor` times as often as one of the control.

    Each unit that had the event was of the treatment by a coin whose sides are the weights times the rates, so the
    numbers of units without it need not be known (Lindon & Malek 2022, "Anytime-valid inference for multinomial count
    data"). So it speaks after a handful of events.
    """
    share = factor * weights[0] / (factor * weights[0] + weights[1])
    return rate_above(treatment, treatment + control, share)
