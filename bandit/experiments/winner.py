"""Who has won: the rule, and the sentence that says why it is that one, or nobody. Pure, from measures.

A winner is a treatment whose primary metric is above the control's in an interval that holds at every look, alpha being
divided among the treatments (Bonferroni), with the planned number of units on both sides, or more where the metric is
skewed (`skewness.py`), no alarm of the sample ratio and no guardrail broken. A loser is one below it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bandit.confidence import Interval

from .guardrails import Verdict
from .measures import Measures
from .metrics import METRICS
from .sample_ratio import SampleRatio
from .shadow import ShadowValue
from .skewness import MOST, units_needed
from .state import Experiment


def winner_of(
    experiment: Experiment,
    measures: Mapping[str, Measures],
    differences: Mapping[str, Mapping[str, Interval]],
    ratio: SampleRatio | None,
    verdicts: tuple[Verdict, ...],
) -> tuple[str | None, tuple[str, ...], str]:
    """The winner, the losers, and in a sentence why. `differences` are to the control, per metric."""
    plan = experiment.plan
    if not measures:
        return None, (), "it was never started, so there is nothing to judge."
    if ratio is not None and ratio.alarm:
        got = ", ".join(f"{name} {count}" for name, count in ratio.units.items())
        return (
            None,
            (),
            (
                f"nobody is called a winner: the variants did not get their planned shares of units ({got}; by chance "
                f"with probability at most {ratio.sequential_p:.2g}). Find out why before any other number is believed."
            ),
        )
    control = measures[plan.control]
    broken = {one.variant: one for one in verdicts if one.breached}
    winners: dict[str, float] = {}
    losers: list[str] = []
    reasons: list[str] = []
    sign = 1.0 if METRICS[plan.metric].higher_is_better else -1.0
    for name in plan.treatments:
        own, interval = measures[name], differences[name][plan.metric]
        words = f"{plan.metric} of {name} minus {plan.control} is within {_span(interval)}"
        if name in experiment.stopped_variants:
            reasons.append(f"{name} was stopped: {experiment.stopped_variants[name].reason}")
        elif min(measured := (own.measured_units(plan.metric), control.measured_units(plan.metric))) < plan.least_units:
            reasons.append(
                f"{name} and {plan.control} have {measured[0]} and {measured[1]} units of {plan.least_units} whose "
                f"{plan.metric} is measured"
            )
        elif name in broken:
            reasons.append(broken[name].sentence)
        elif (skew := own.skew_of_difference(plan.metric, control)) > MOST:
            reasons.append(
                f"{plan.metric} is too skewed for {min(measured)} units on the smaller side of {name} and "
                f"{plan.control} (needed: about {units_needed(min(measured), skew)})"
            )
        elif sign * interval.low > 0 and sign * interval.high > 0:
            winners[name] = sign * (own.values[plan.metric] or 0.0)
            reasons.append(words)
        elif sign * interval.low < 0 and sign * interval.high < 0:
            losers.append(name)
            reasons.append(f"{words}: it lost")
        else:
            reasons.append(f"{words}, which holds 0")
    confidence = f"(at every look, {1 - plan.alpha / len(plan.treatments):.4g})"
    if not winners:
        return None, tuple(losers), f"nobody has won: {'; '.join(reasons)} {confidence}."
    winner = max(winners, key=lambda name: winners[name])
    return winner, tuple(losers), f"{winner} has won: {'; '.join(reasons)} {confidence}."


def takeover(experiment: Experiment, values: Mapping[str, ShadowValue]) -> tuple[str | None, str]:
    """Whether an apprentice may take over: it is worth `takeover` of what acts, also at the lower end."""
    plan = experiment.plan
    if plan.takeover is None:
        said = "; ".join(f"{name} {_span(one.difference)} over {one.rounds}" for name, one in values.items())
        return None, (
            f"nobody can win in the shadow; utility minus that of {plan.control} is estimated within {said} decisions."
        )
    ((name, found),) = values.items()
    if found.acting_value is None:
        return None, f"{name} has decided nothing yet whose utility is known."
    needed = (plan.takeover - 1.0) * abs(found.acting_value)
    words = (
        f"{name} is worth {found.value:.4g} where {plan.control} earned {found.acting_value:.4g} (utility cut to "
        f"[-1, 1]; difference within {_span(found.difference)} at every look, {1 - plan.alpha:.4g}, needed at least "
        f"{needed:.4g}; {found.rounds} decisions, needed {plan.least_units})"
    )
    if name in experiment.stopped_variants:
        return None, f"{name} was stopped: {experiment.stopped_variants[name].reason}."
    if found.rounds < plan.least_units or found.difference.low < needed:
        return None, f"not yet: {words}."
    return name, f"the apprentice may take over: {words}."


def _span(interval: Interval) -> str:
    return f"[{interval.low:.4g}, {interval.high:.4g}]"
