"""Whether a variant is beyond a guardrail: pure, from measures. Who stops it: `supervisor.py`.

A variant is stopped when it is known to be worse, never on noise: intervals hold at every look at once, and alpha is
divided among all guardrails and treatments. Means wait until they are of enough units for how skewed their values are
(`skewness.py`). Errors wait for no averages: units with a failure are counted beside them, and a handful that all fell
on one variant are enough (`evidence.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bandit.confidence import Interval, bounded_mean_interval

from .evidence import events_above, rate_above
from .measures import Measures
from .metrics import METRICS
from .plan import Guardrail, Plan
from .skewness import MOST


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guardrail of one variant. `interval` is of what is compared with the limit, None where counts decided."""

    variant: str
    guardrail: Guardrail
    breached: bool
    sentence: str  # goes into the event when the variant is stopped
    interval: Interval | None = None
    e_value: float | None = None  # of the counts


def judge(plan: Plan, measures: Mapping[str, Measures], weights: Mapping[str, float]) -> tuple[Verdict, ...]:
    """All guardrails of all treatments that are measured; `weights` are those by which their units were assigned."""
    if plan.control not in measures or not plan.guardrails:
        return ()
    alpha = plan.alpha / (len(plan.guardrails) * len(plan.treatments))
    return tuple(
        _verdict(plan, guardrail, name, measures, weights, alpha)
        for name in plan.treatments
        if name in measures
        for guardrail in plan.guardrails
    )


def _verdict(
    plan: Plan,
    guardrail: Guardrail,
    variant: str,
    measures: Mapping[str, Measures],
    weights: Mapping[str, float],
    alpha: float,
) -> Verdict:
    own, control = measures[variant], measures[plan.control]
    # In a switchback failures come in the slots of a crisis, so that units with one are no independent coins.
    if guardrail.metric == "error_rate" and not own.blocks:
        if guardrail.limit == "bound" and 0 < guardrail.value < 1:
            return _bounded(guardrail, variant, own, alpha)
        if guardrail.limit == "relative" and weights[variant] > 0:
            counted = _compared(plan, guardrail, variant, measures, weights, alpha / 2)
            averaged = _averaged(plan, guardrail, variant, own, control, alpha / 2)
            return averaged if averaged.breached and not counted.breached else counted
    return _averaged(plan, guardrail, variant, own, control, alpha)


def _compared(
    plan: Plan,
    guardrail: Guardrail,
    variant: str,
    measures: Mapping[str, Measures],
    weights: Mapping[str, float],
    alpha: float,
) -> Verdict:
    """By how many units had a failure at all: soon enough for what breaks at once, or breaks in mid-run."""
    own, control = measures[variant].failed_units, measures[plan.control].failed_units
    shares = weights[variant], weights[plan.control]
    e_value = events_above(own, control, shares, 1.0 + guardrail.value)
    seen = f"{own} units of it and {control} of {plan.control}, at weights {shares[0]:g} to {shares[1]:g},"
    return _counted(guardrail, variant, e_value, alpha, seen)


def _bounded(guardrail: Guardrail, variant: str, own: Measures, alpha: float) -> Verdict:
    """A rate that stands alone: by counts where each unit asked once, else by the mean of the units' own rates.

    Of units that ask often, nearly all have a failure some time, so that their number says nothing of the rate.
    """
    if own.exposures == own.units:
        settled = len(own.failed_shares)
        e_value = rate_above(own.failed_units, settled, guardrail.value)
        return _counted(guardrail, variant, e_value, alpha, f"{own.failed_units} of {settled} units")
    interval = bounded_mean_interval(own.failed_shares, alpha)
    breached = interval.low > guardrail.value
    words = f"the mean over {len(own.failed_shares)} units is within {_span(interval)} (at every look, {1 - alpha:.2%})"
    return Verdict(
        variant, guardrail, breached, f"error_rate of {variant} {_limit(guardrail, breached)}: {words}.", interval
    )


def _counted(guardrail: Guardrail, variant: str, e_value: float, alpha: float, seen: str) -> Verdict:
    breached = e_value >= 1.0 / alpha
    odds = f"by chance, at any look, with probability at most {min(1.0, 1.0 / e_value) if e_value > 0 else 1.0:.2g}"
    sentence = f"error_rate of {variant} {_limit(guardrail, breached)}: {seen} had a failure ({odds})."
    return Verdict(variant, guardrail, breached, sentence, None, e_value)


def _averaged(
    plan: Plan, guardrail: Guardrail, variant: str, own: Measures, control: Measures, alpha: float
) -> Verdict:
    metric, limit = guardrail.metric, guardrail.limit
    sign = -1.0 if METRICS[metric].higher_is_better else 1.0  # sign * value: less is better
    if limit == "bound":
        interval = own.interval(metric, alpha)
        worst, best = guardrail.value, interval.low if sign > 0 else interval.high
        beyond, skew = sign * best > sign * worst, own.skew(metric)
        what = f"is {_shown(own.values[metric])}, within {_span(interval)}"
    else:
        base = control.values[metric]
        factor, margin = 1.0, guardrail.value
        if limit == "relative":
            factor, margin = 1.0 + sign * guardrail.value, 0.0
        interval = own.difference(metric, control, alpha, factor=factor)
        beyond = (interval.low if sign > 0 else -interval.high) > margin
        skew = own.skew_of_difference(metric, control, factor=factor)
        against = plan.control if factor == 1.0 else f"{factor:.4g} times {plan.control}"
        what = (
            f"is {_shown(own.values[metric])}, of {plan.control} {_shown(base)}; {variant} minus {against} is "
            f"within {_span(interval)}"
        )
    breached = beyond and skew <= MOST
    holds = f"at every look, {1 - alpha:.2%}" if skew <= MOST else "which waits for more units, as values are skewed"
    sentence = f"{metric} of {variant} {_limit(guardrail, breached)}: it {what} ({holds})."
    return Verdict(variant, guardrail, breached, sentence, interval)


def _limit(guardrail: Guardrail, breached: bool) -> str:
    said = {
        "relative": f"worse than the control by more than {guardrail.value:.4g} of it",
        "difference": f"worse than the control by more than {guardrail.value:.4g}",
        "bound": f"worse than {guardrail.value:.4g}",
    }[guardrail.limit]
    return f"is {said}" if breached else f"is not known to be {said}"


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"


def _span(interval: Interval) -> str:
    return f"[{interval.low:.4g}, {interval.high:.4g}]"
