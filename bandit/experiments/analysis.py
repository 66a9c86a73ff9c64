"""An experiment's report: what its variants are worth so far. Whether one of them has won: `winner.py`.

Only decisions since the last change of weights, shrinking of traffic or restart are counted: before it, other units
were in other variants. Intervals hold at every look (of which means not yet, a note says), those of differences at
alpha divided among the treatments; metrics beside the primary one inform and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np
from sqlalchemy import Connection

from bandit.confidence import Interval
from bandit.errors import UnknownExperiment
from bandit.journal import Journal

from .assignment import acts, column, variant_of_slot
from .events import read_events
from .guardrails import judge
from .measures import Measures, measure, measure_slots
from .metrics import METRICS
from .observations import Observations, Units, observe
from .plan import shown
from .report import Report, VariantReport
from .sample_ratio import SampleRatio, sample_ratio
from .shadow import ShadowValue, shadow_value
from .shares import TICKS, size
from .skewness import MOST, units_needed
from .state import Experiment, fold
from .winner import takeover, winner_of

SETTLE_S = 10.0  # gateways look for changes every second or so; what they decided in between is not counted


def report(journal: Journal, experiment_id: str, now_s: float) -> Report:
    """Read the journal once and judge. Raises UnknownExperiment, JournalAway."""
    with journal.read() as connection:
        experiments = fold(read_events(connection)).experiments
        if experiment_id not in experiments:
            known = ", ".join(experiments) or "none yet"
            raise UnknownExperiment(f"there is no experiment {shown(experiment_id)}; known: {known}")
        return _report(connection, experiments[experiment_id], now_s)


def _report(connection: Connection, experiment: Experiment, now_s: float) -> Report:
    plan = experiment.plan
    measures, misplaced = _measures(connection, experiment)
    live = {name: one for name, one in measures.items() if name not in experiment.stopped_variants}
    ratio = _sample_ratio(experiment, live)
    verdicts = judge(plan, live, _weights(experiment))  # also of a stopped one, which may still be promoted
    shadow_values = _shadow_values(connection, experiment)
    differences = _differences(plan.alpha, experiment, measures)
    if shadow_values:
        winner, verdict = takeover(experiment, shadow_values)
        losers: tuple[str, ...] = ()
    else:
        winner, losers, verdict = winner_of(experiment, measures, differences, ratio, verdicts)
    return Report(
        experiment_id=plan.experiment_id,
        status=experiment.status,
        kind=plan.kind,
        control=plan.control,
        metric=plan.metric,
        alpha=plan.alpha,
        seq=experiment.seq,
        now_s=now_s,
        since_s=experiment.since_s,
        since=experiment.since,
        variants=tuple(
            _variant(experiment, name, measures.get(name), differences.get(name, {}), shadow_values.get(name))
            for name in plan.names
        ),
        sample_ratio=ratio,
        guardrails=verdicts,
        winner=winner,
        losers=losers,
        verdict=verdict,
        notes=_notes(experiment, measures, ratio, misplaced) + _skewed(experiment, measures, differences),
    )


def _measures(connection: Connection, experiment: Experiment) -> tuple[dict[str, Measures], int]:
    """Of the variants that act, and how many decisions of a switchback were in no slot of their variant."""
    plan = experiment.plan
    if experiment.since_s is None:
        return {}, 0
    units = Units("request" if plan.kind == "switchback" else plan.unit)
    seen = {
        name: observe(connection, column(plan, name), units, after_s=_after_s(experiment), judged_by=plan.judged_by)
        for name in plan.names
        if acts(plan, name)
    }
    tuned_at = max(2 * plan.least_units, 60)
    if plan.kind != "switchback":
        return {name: measure(one, tuned_at=tuned_at) for name, one in seen.items()}, 0
    return _by_slot(experiment, seen, tuned_at)


def _by_slot(
    experiment: Experiment, seen: Mapping[str, Observations], tuned_at: int
) -> tuple[dict[str, Measures], int]:
    plan = experiment.plan
    assert plan.slot_s is not None
    slots = {
        name: np.floor((one.at_s - experiment.origin_s) / plan.slot_s).astype(np.int64) for name, one in seen.items()
    }
    owners = {int(slot): variant_of_slot(plan, int(slot)) for one in slots.values() for slot in np.unique(one)}
    first = min((slot // len(plan.names) for slot in owners), default=0)
    last = max((slot // len(plan.names) for slot in owners), default=first)
    measures, misplaced = {}, 0
    for name, one in seen.items():
        mine = np.array([owners[int(slot)] == name for slot in slots[name]], dtype=bool)
        misplaced += int((~mine).sum())
        slot = slots[name][mine]
        measures[name] = measure_slots(
            one.only(mine), slot, slot // len(plan.names) - first, blocks=last - first + 1, tuned_at=tuned_at
        )
    return measures, misplaced


def _after_s(experiment: Experiment) -> float | None:
    return None if experiment.counted_after_s is None else experiment.counted_after_s + SETTLE_S


def _weights(experiment: Experiment) -> dict[str, float]:
    """As units are in truth divided, in whole ticks."""
    return {name: size(pieces) / TICKS for name, pieces in experiment.shares.items()}


def _sample_ratio(experiment: Experiment, live: Mapping[str, Measures]) -> SampleRatio | None:
    """None where the shares are not by unit: slots of a switchback, and a control that acts alone."""
    if experiment.plan.kind == "switchback":
        return None
    return sample_ratio(_weights(experiment), {name: (one.unit_numbers, one.first_s) for name, one in live.items()})


def _shadow_values(connection: Connection, experiment: Experiment) -> dict[str, ShadowValue]:
    plan = experiment.plan
    if experiment.since_s is None:
        return {}
    return {
        name: shadow_value(
            connection,
            column(plan, name),
            column(plan, plan.control),
            alpha=plan.alpha / len(plan.treatments),
            after_s=_after_s(experiment),
            judged_by=plan.judged_by,
        )
        for name in plan.names
        if not acts(plan, name)
    }


def _differences(
    alpha: float, experiment: Experiment, measures: Mapping[str, Measures]
) -> dict[str, dict[str, Interval]]:
    plan = experiment.plan
    share = alpha / len(plan.treatments)
    return {
        name: {metric: measures[name].difference(metric, measures[plan.control], share) for metric in METRICS}
        for name in plan.treatments
        if name in measures
    }


def _variant(
    experiment: Experiment,
    name: str,
    own: Measures | None,
    differences: Mapping[str, Interval],
    shadow: ShadowValue | None,
) -> VariantReport:
    planned, stopped = experiment.plan.variant(name), experiment.stopped_variants.get(name)
    reason = None if stopped is None else stopped.reason
    if own is None:
        return VariantReport(name, planned.policy, experiment.weights[name], reason, shadow=shadow)
    return VariantReport(
        name=name,
        policy=planned.policy,
        weight=experiment.weights[name],
        stopped=reason,
        exposures=own.exposures,
        units=own.units,
        served=own.served,
        failed=own.failed,
        cancelled=own.cancelled,
        pending=own.pending,
        scored=own.scored,
        fallbacks=own.fallbacks,
        values=own.values,
        intervals={metric: own.interval(metric, experiment.plan.alpha) for metric in METRICS},
        differences=differences,
        shadow=shadow,
    )


def _notes(
    experiment: Experiment, measures: Mapping[str, Measures], ratio: SampleRatio | None, misplaced: int
) -> tuple[str, ...]:
    plan, notes = experiment.plan, list[str]()
    if experiment.since_s is not None:
        left_out = "; what was before is left out, as other units were in other variants"
        before = left_out if experiment.counted_after_s is not None else ""
        notes.append(f"Counted are decisions since {experiment.since} (event {_since_seq(experiment)}){before}.")
    if ratio is not None and ratio.crossed:
        notes.append(f"{ratio.crossed} units were seen in more than one variant; they are counted in each.")
    if ratio is not None and ratio.chi_square_alarm and not ratio.alarm:
        notes.append(
            f"A chi-square test of the sample ratio gives p = {ratio.chi_square_p:.2g}; it holds at one look only, "
            f"and the sequential test does not confirm it (p = {ratio.sequential_p:.2g})."
        )
    if misplaced:
        notes.append(f"{misplaced} decisions were in no slot of their variant (clocks disagree) and are left out.")
    for name, own in measures.items():
        if own.fallbacks:
            notes.append(f"{own.fallbacks} decisions of {name} were made by a fallback, as its policy misbehaved.")
        waiting = own.served - own.scored
        if waiting:
            notes.append(f"{waiting} of {own.served} images of {name} have no measured quality: not in its utility.")
    if plan.kind in ("split", "shadow", "apprentice") and measures:
        notes.append(
            "Variants share the tiers' queues: under load, what one does moves the latency of the other. An A/A test, "
            "a switchback or pools tell how much."
        )
    for name, stop in experiment.stopped_variants.items():
        notes.append(f"{name} was stopped by {stop.actor}: {stop.reason}")
    return tuple(notes)


def _skewed(
    experiment: Experiment, measures: Mapping[str, Measures], differences: Mapping[str, Mapping[str, Interval]]
) -> tuple[str, ...]:
    """Of which differences the intervals are not yet to be believed."""
    control, notes = experiment.plan.control, list[str]()
    for name, intervals in differences.items():
        own, other = measures[name], measures[control]
        needed = []
        for metric, interval in intervals.items():
            skew = own.skew_of_difference(metric, other)
            if skew > MOST and interval.width < inf:
                units = min(own.measured_units(metric), other.measured_units(metric))
                needed.append(f"{metric} ({units} units on the smaller side, needed about {units_needed(units, skew)})")
        if needed:
            notes.append(
                f"Differences between {name} and {control} that do not hold at every look yet, as values are skewed: "
                f"{', '.join(needed)}. Until then nobody wins or loses by them, and no guardrail on such a difference "
                "stops a variant."
            )
    return tuple(notes)


def _since_seq(experiment: Experiment) -> int:
    counted = [one.seq for one in experiment.history if one.what != "traffic grown"]
    return counted[-1]
