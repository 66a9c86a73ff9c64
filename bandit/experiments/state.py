"""What the events add up to: the state of every experiment and of the live policy. A pure fold, in the events' order.

created -> running -> stopped -> running ...      a restart counts from anew
running or stopped -> promoted -> rolled back     for good; what comes next is a new experiment

Clocks jump, so an event's effective time is the latest that any event up to it has told, and it only informs: which
decisions came before an event is told by the decisions that were in the journal when it was written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from bandit.errors import BadPlan

from .assignment import Running, column
from .design import Plan, plan_from_json
from .events import CREATED, PROMOTED, RAMPED, ROLLED_BACK, STARTED, STOPPED, VARIANT_STOPPED, Event
from .shares import Pieces

_log = logging.getLogger(__name__)


class LivePolicy(NamedTuple):
    """The policy that decides outside of experiments, and the name of its snapshots."""

    name: str
    options: Mapping[str, Any]
    snapshot_name: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why and when a variant, or an experiment, was stopped, and by whom."""

    reason: str
    at_s: float  # effective
    actor: str


@dataclass(frozen=True, slots=True)
class Change:
    """One step of an experiment's weights and traffic."""

    seq: int
    at_s: float  # effective
    told_s: float  # what the writer's clock said
    actor: str
    what: str  # "started" | "restarted" | "weights" | "traffic grown" | "traffic shrunk"
    weights: Mapping[str, float]
    traffic: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as it is now.

    `counted_after_s`: decisions dated up to this came before the last change and are not counted; None: all count.
    """

    plan: Plan
    status: str  # "created" | "running" | "stopped" | "promoted" | "rolled_back"
    seq: int
    created_s: float
    actor: str
    weights: Mapping[str, float]
    traffic: float
    claim: Pieces = ()
    shares: Mapping[str, Pieces] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    stopped_variants: Mapping[str, Stopped] = field(default_factory=dict)
    started_s: float | None = None  # the first time
    origin_s: float = 0.0  # of the slots of a switchback
    since_s: float | None = None  # effective time of the last change that makes older data useless
    since: str = ""  # what changed then
    counted_after_s: float | None = None  # by the clocks of the gateways
    ended: Stopped | None = None  # None while it is created or running
    history: tuple[Change, ...] = ()
    promoted: str | None = None

    @property
    def experiment_id(self) -> str:
        return self.plan.experiment_id

    def running(self) -> Running | None:
        """As gateways need it, None unless it runs."""
        if self.status != "running":
            return None
        return Running(
            plan=self.plan,
            claim=self.claim,
            shares=self.shares,
            stopped=frozenset(self.stopped_variants),
            snapshots=self.snapshots,
            origin_s=self.origin_s,
            seq=self.seq,
        )


@dataclass(frozen=True, slots=True)
class Promotion:
    """A variant's policy that became the live one."""

    experiment_id: str
    variant: str
    live: LivePolicy
    at_s: float  # effective
    forced: bool
    own: str | None  # the variant ("experiment:variant") whose records alone it learns from; None: everybody's


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All experiments, and the promotions that were not rolled back, the newest last.

    `unreadable`: experiments whose plan this version does not take, and why; their events mean nothing to it.
    """

    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    promotions: tuple[Promotion, ...] = ()
    position: int = 0
    latest_s: float = 0.0  # the latest time that any event has told

    def running(self) -> tuple[Running, ...]:
        """All experiments that run, in the order of their creation."""
        found = (experiment.running() for experiment in self.experiments.values())
        return tuple(one for one in found if one is not None)

    @property
    def live(self) -> LivePolicy | None:
        """What the newest promotion says; None: the catalogue's."""
        return self.promotions[-1].live if self.promotions else None

    @property
    def live_column(self) -> str | None:
        """What decisions of the live policy have to say in `variant`; None: nothing.

        A promoted policy that learns from its own records only goes on to learn, so its records must be known.
        """
        own = self.promotions[-1].own if self.promotions else None
        return None if own is None else f"{own}:live"


def fold(events: Iterable[Event], state: LedgerState | None = None) -> LedgerState:
    """The state after the events, from the beginning or from an earlier state."""
    state = state or LedgerState()
    experiments, unreadable = dict(state.experiments), dict(state.unreadable)
    promotions = list(state.promotions)
    position, latest_s = state.position, state.latest_s
    for event in events:
        position, latest_s = event.position, max(latest_s, event.at_s)
        if event.kind == CREATED:
            try:
                experiments[event.experiment_id] = _created(event, latest_s)
            except BadPlan as error:
                _log.error("experiment %s is not read: %s", event.experiment_id, error)
                unreadable[event.experiment_id] = str(error)
            continue
        if event.experiment_id in unreadable:
            continue
        experiment = replace(experiments[event.experiment_id], seq=event.seq)
        if event.kind == PROMOTED:
            promotions.append(_promotion(experiment, event, latest_s))
        elif event.kind == ROLLED_BACK:
            promotions = [one for one in promotions if one.experiment_id != event.experiment_id]
        experiments[event.experiment_id] = _STEPS[event.kind](experiment, event, latest_s)
    return LedgerState(experiments, unreadable, tuple(promotions), position, latest_s)


def _created(event: Event, at_s: float) -> Experiment:
    plan = plan_from_json(event.body["plan"])
    return Experiment(
        plan=plan,
        status="created",
        seq=event.seq,
        created_s=at_s,
        actor=event.actor,
        weights=plan.weights,
        traffic=plan.traffic,
    )


def _started(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    what = "started" if experiment.started_s is None else "restarted"
    return replace(
        experiment,
        status="running",
        claim=_pieces(event.body["claim"]),
        shares={name: _pieces(pieces) for name, pieces in event.body["shares"].items()},
        snapshots=dict(event.body["snapshots"]),
        started_s=at_s if experiment.started_s is None else experiment.started_s,
        origin_s=at_s,
        since_s=at_s,
        since=f"it was {what}",
        counted_after_s=event.body["newest_decision_s"],
        ended=None,
        history=(*experiment.history, _change(experiment, event, at_s, what)),
    )


def _ramped(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    body = event.body
    weights, traffic = dict(body["weights"]), float(body["traffic"])
    whats = []
    if weights != experiment.weights:
        whats.append("weights")
    if traffic != experiment.traffic:
        whats.append("traffic shrunk" if traffic < experiment.traffic else "traffic grown")
    changed = replace(
        experiment,
        weights=weights,
        traffic=traffic,
        claim=_pieces(body["claim"]),
        shares={name: _pieces(pieces) for name, pieces in body["shares"].items()},
    )
    if whats != ["traffic grown"]:  # more units of the same division spoil nothing that was counted
        words = "its weights were changed" if "weights" in whats else "its traffic was reduced"
        counted_after_s = body["newest_decision_s"]
        changed = replace(changed, since_s=at_s, since=words, counted_after_s=counted_after_s)
    return replace(changed, history=(*changed.history, _change(changed, event, at_s, " and ".join(whats))))


def _stopped(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    return replace(experiment, status="stopped", ended=Stopped(event.body["reason"], at_s, event.actor))


def _variant_stopped(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    variant, reason = event.body["variant"], event.body["reason"]
    stopped = {**experiment.stopped_variants, variant: Stopped(reason, at_s, event.actor)}
    changed = replace(experiment, stopped_variants=stopped)
    plan = experiment.plan
    if plan.control in stopped:
        why = f"its control {plan.control} was stopped: {stopped[plan.control].reason}"
    elif all(name in stopped for name in plan.treatments):
        why = f"the last variant beside the control was stopped: {reason}"
    else:
        return changed
    if experiment.status != "running":
        return changed
    return replace(changed, status="stopped", ended=Stopped(why, at_s, event.actor))


def _promoted(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    variant = event.body["variant"]
    how = "forced" if event.body["forced"] else "with evidence"
    ended = Stopped(f"{variant} was promoted, {how}", at_s, event.actor)
    return replace(experiment, status="promoted", promoted=variant, ended=ended)


def _rolled_back(experiment: Experiment, event: Event, at_s: float) -> Experiment:
    assert experiment.ended is not None
    ended = replace(experiment.ended, reason=f"{experiment.ended.reason}; rolled back: {event.body['reason']}")
    return replace(experiment, status="rolled_back", ended=ended)


_STEPS = {
    STARTED: _started,
    RAMPED: _ramped,
    STOPPED: _stopped,
    VARIANT_STOPPED: _variant_stopped,
    PROMOTED: _promoted,
    ROLLED_BACK: _rolled_back,
}


def _promotion(experiment: Experiment, event: Event, at_s: float) -> Promotion:
    planned = experiment.plan.variant(event.body["variant"])
    return Promotion(
        experiment_id=experiment.experiment_id,
        variant=planned.name,
        live=LivePolicy(planned.policy, dict(planned.options), experiment.snapshots[planned.name]),
        at_s=at_s,
        forced=event.body["forced"],
        own=None if planned.learns_from == "all" else column(experiment.plan, planned.name),
    )


def _change(experiment: Experiment, event: Event, at_s: float, what: str) -> Change:
    return Change(event.seq, at_s, event.at_s, event.actor, what, dict(experiment.weights), experiment.traffic)


def _pieces(value: Any) -> Pieces:
    return tuple((int(start), int(end)) for start, end in value)
