"""Changing experiments: every command checks, then appends one event. What they add up to is in `state.py`.

Nothing is ever overwritten, so who did what, when and why can always be told. A command that comes at the same moment
as another one loses with ExperimentConflict and has stored nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from bandit.errors import ExperimentConflict, ExperimentRefused, NoEvidence, UnknownExperiment, UnknownVariant
from bandit.journal import Journal

from . import events
from .analysis import report
from .assignment import Running, column
from .courses import first_snapshot_name
from .design import Plan, check_policies, plan_to_json
from .events import Event
from .plan import check_traffic, check_weights, is_text, shown
from .shares import TICKS, Pieces, free_of, reshared, size, ticks_of
from .state import Experiment, LedgerState, LivePolicy, fold

_TRIES = 20  # of commands that any number of gateways may give at once
_REASON_CHARACTERS = 2000

_log = logging.getLogger(__name__)


class Ledger:
    """The experiments of one journal. From any thread; each command is one transaction. `now_s` is Unix time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen = LedgerState()  # replaced as a whole

    def state(self) -> LedgerState:
        """All experiments as they are now. Cheap where nothing changed. Raises JournalAway."""
        with self._journal.read() as connection:
            self._seen = _state(connection, self._seen)
        return self._seen

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises UnknownExperiment."""
        return _known(self.state(), experiment_id)

    def running(self) -> tuple[Running, ...]:
        """What gateways assign units to."""
        return self.state().running()

    def live_policy(self) -> LivePolicy | None:
        """What the newest promotion says: (name, options, snapshot_name). None: the catalogue's."""
        return self.state().live

    def live_column(self) -> str | None:
        """What decisions of the live policy have to say in `variant`, None: nothing. See `LedgerState.live_column`."""
        return self.state().live_column

    def events(self, experiment_id: str | None = None) -> tuple[Event, ...]:
        """The history of one experiment, or of all, in order. Raises UnknownExperiment."""
        with self._journal.read() as connection:
            found = events.read_events(connection)
        if experiment_id is None:
            return found
        own = tuple(event for event in found if event.experiment_id == experiment_id)
        if not own:
            _known(fold(found), experiment_id)
        return own

    def create(self, plan: Plan, actor: str, now_s: float) -> Experiment:
        """Store a plan; nothing runs yet. Raises BadPlan, ExperimentRefused if the id is taken, ExperimentConflict."""
        check_policies(plan)

        def body(_connection: Connection, state: LedgerState) -> dict[str, Any]:
            if plan.experiment_id in state.experiments or plan.experiment_id in state.unreadable:
                raise ExperimentRefused(f"there is an experiment {plan.experiment_id} already; choose another id")
            return {"plan": plan_to_json(plan)}

        return self._change(plan.experiment_id, events.CREATED, actor, now_s, body)

    def start(self, experiment_id: str, actor: str, now_s: float, *, catalogue: LivePolicy) -> Experiment:
        """Let it run, from its first start or again; data from before a restart are not counted.

        `catalogue`: the policy that is live while nothing is promoted; a variant that is the live policy shares its
        snapshots. Raises UnknownExperiment, BadPlan (a policy is not there any more), ExperimentRefused (it runs, has
        ended for good, or its units are taken), ExperimentConflict.
        """

        def body(connection: Connection, state: LedgerState) -> dict[str, Any]:
            experiment = _known(state, experiment_id)
            plan = experiment.plan
            check_policies(plan)
            if experiment.status == "running":
                raise ExperimentRefused(
                    f"experiment {experiment_id} runs already, since event {experiment.history[-1].seq}"
                )
            if experiment.status not in ("created", "stopped"):
                raise ExperimentRefused(
                    f"experiment {experiment_id} is {_said(experiment)}; that is its end: create a new one"
                )
            left = [name for name in plan.names if name not in experiment.stopped_variants]
            if plan.control not in left or len(left) < 2:
                reasons = "; ".join(f"{name}: {one.reason}" for name, one in experiment.stopped_variants.items())
                raise ExperimentRefused(
                    f"experiment {experiment_id} has nothing left to compare ({reasons}); create a new one"
                )
            live = state.live or catalogue
            snapshots = {name: first_snapshot_name(plan, name, live) for name in plan.names}
            return {
                "claim": _claim(state, experiment, experiment.traffic),
                "shares": dict(experiment.shares) or reshared({}, ticks_of(experiment.weights), ((0, TICKS),)),
                "snapshots": dict(experiment.snapshots) or snapshots,
                "newest_decision_s": _newest_decision_s(connection, plan),
            }

        return self._change(experiment_id, events.STARTED, actor, now_s, body)

    def ramp(
        self,
        experiment_id: str,
        actor: str,
        now_s: float,
        *,
        weights: Mapping[str, float] | None = None,
        traffic: float | None = None,
    ) -> Experiment:
        """Other weights or more or less traffic; as few units move as can be, and the analysis says from when.

        Raises UnknownExperiment, BadPlan, ExperimentRefused, ExperimentConflict.
        """

        def body(connection: Connection, state: LedgerState) -> dict[str, Any]:
            experiment = _known(state, experiment_id)
            if experiment.status != "running":
                raise ExperimentRefused(
                    f"experiment {experiment_id} is {_said(experiment)}; only a running one can be ramped"
                )
            new_weights = dict(experiment.weights if weights is None else weights)
            new_traffic = experiment.traffic if traffic is None else traffic
            check_weights(experiment.plan, new_weights)
            check_traffic(new_traffic)
            new_weights = {name: float(new_weights[name]) for name in experiment.plan.names}
            if new_weights == dict(experiment.weights) and new_traffic == experiment.traffic:
                raise ExperimentRefused(f"experiment {experiment_id} has these weights and this traffic already")
            return {
                "weights": new_weights,
                "traffic": float(new_traffic),
                "claim": _claim(state, experiment, new_traffic),
                "shares": reshared(experiment.shares, ticks_of(new_weights)),
                "newest_decision_s": _newest_decision_s(connection, experiment.plan),
            }

        return self._change(experiment_id, events.RAMPED, actor, now_s, body)

    def stop(self, experiment_id: str, actor: str, now_s: float, *, reason: str) -> Experiment:
        """End it, for now or for good; its units get the live policy. Raises UnknownExperiment, ExperimentRefused."""

        def body(_connection: Connection, state: LedgerState) -> dict[str, Any]:
            experiment = _known(state, experiment_id)
            if experiment.status != "running":
                raise ExperimentRefused(f"experiment {experiment_id} is {_said(experiment)}; there is nothing to stop")
            return {"reason": _reason(reason)}

        return self._change(experiment_id, events.STOPPED, actor, now_s, body)

    def stop_variant(
        self, experiment_id: str, variant: str, actor: str, now_s: float, *, reason: str, once: bool = True
    ) -> Experiment:
        """Take one variant out: its units get the live policy. Without the control, or the last other, all stops.

        With `once`, what is stopped or ended already is left as it is and no event is written, so that any number of
        gateways may report the same fault. Raises UnknownExperiment, and without `once` ExperimentRefused.
        """

        def body(_connection: Connection, state: LedgerState) -> dict[str, Any] | None:
            experiment = _known(state, experiment_id)
            _known_variant(experiment, variant)
            if experiment.status == "running" and variant not in experiment.stopped_variants:
                return {"variant": variant, "reason": _reason(reason)}
            if once:
                return None
            earlier = experiment.stopped_variants.get(variant)
            said = _said(experiment) if earlier is None else f"without {variant} already ({earlier.reason})"
            raise ExperimentRefused(f"experiment {experiment_id} is {said}; there is nothing to stop")

        for _ in range(_TRIES):
            try:
                return self._change(experiment_id, events.VARIANT_STOPPED, actor, now_s, body)
            except ExperimentConflict:
                if not once:
                    raise
        return self._change(experiment_id, events.VARIANT_STOPPED, actor, now_s, body)

    def promote(
        self,
        experiment_id: str,
        variant: str,
        actor: str,
        now_s: float,
        *,
        force: bool = False,
        reason: str | None = None,
    ) -> Experiment:
        """Make the variant's policy the live one, with what it has learned; this ends the experiment.

        The report must name it the winner (or, of an apprentice, say that it may take over); `force` goes without,
        and the event says so and what the report said. Raises NoEvidence, UnknownExperiment, ExperimentRefused,
        ExperimentConflict.
        """
        _known_variant(_promotable(self.state(), experiment_id, variant), variant)
        found = report(self._journal, experiment_id, now_s)
        if found.winner != variant and not force:
            raise NoEvidence(
                f"{variant} of experiment {experiment_id} is not promoted: {found.verdict} "
                "Wait for more data, or force it, which is logged."
            )

        def body(_connection: Connection, state: LedgerState) -> dict[str, Any]:
            experiment = _promotable(state, experiment_id, variant)
            if experiment.seq != found.seq:
                raise ExperimentConflict(f"experiment {experiment_id} was changed meanwhile; look at it and repeat")
            return {
                "variant": variant,
                "forced": found.winner != variant,
                "evidence": found.verdict,
                **({} if reason is None else {"reason": _reason(reason)}),
            }

        return self._change(experiment_id, events.PROMOTED, actor, now_s, body)

    def roll_back(self, experiment_id: str, actor: str, now_s: float, *, reason: str) -> Experiment:
        """Take a promotion back: live is what was live before it, with all that it has learned since.

        Raises UnknownExperiment, ExperimentRefused, ExperimentConflict.
        """

        def body(_connection: Connection, state: LedgerState) -> dict[str, Any]:
            experiment = _known(state, experiment_id)
            if experiment.status != "promoted":
                raise ExperimentRefused(
                    f"experiment {experiment_id} is {_said(experiment)}; only a promotion can be rolled back"
                )
            return {"reason": _reason(reason)}

        return self._change(experiment_id, events.ROLLED_BACK, actor, now_s, body)

    def _change(
        self,
        experiment_id: str,
        kind: str,
        actor: str,
        now_s: float,
        body: Callable[[Connection, LedgerState], dict[str, Any] | None],
    ) -> Experiment:
        """Append the event whose body is made of the state as it is inside of the transaction."""
        if not is_text(actor, 200):
            raise ExperimentRefused(f"the actor is {shown(actor)}; say in 1 to 200 characters who does this")
        with self._journal.write() as connection:
            state = _state(connection, self._seen)
            made = body(connection, state)
            if made is not None:
                seq = state.experiments[experiment_id].seq + 1 if experiment_id in state.experiments else 1
                event = Event(state.position + 1, experiment_id, seq, float(now_s), kind, actor, made)
                events.append_event(connection, event)
                state = _state(connection, state)
        self._seen = state
        experiment = state.experiments[experiment_id]
        if made is not None:
            _log.info("experiment %s: %s by %s: %s", experiment_id, kind, actor, made)
        return experiment


def _state(connection: Connection, seen: LedgerState) -> LedgerState:
    if events.newest_position(connection) == seen.position:
        return seen
    return fold(events.read_events(connection, seen.position), seen)


def _known(state: LedgerState, experiment_id: str) -> Experiment:
    if experiment_id in state.unreadable:
        why = state.unreadable[experiment_id]
        raise UnknownExperiment(f"experiment {experiment_id} is of a version that this one does not read: {why}")
    if experiment_id not in state.experiments:
        known = ", ".join(state.experiments) or "none yet"
        raise UnknownExperiment(f"there is no experiment {shown(experiment_id)}; known: {known}")
    return state.experiments[experiment_id]


def _known_variant(experiment: Experiment, variant: str) -> None:
    if variant not in experiment.plan.names:
        raise UnknownVariant(
            f"experiment {experiment.experiment_id} has no variant {shown(variant)}; it has: "
            f"{', '.join(experiment.plan.names)}"
        )


def _promotable(state: LedgerState, experiment_id: str, variant: str) -> Experiment:
    experiment = _known(state, experiment_id)
    _known_variant(experiment, variant)
    if experiment.status not in ("running", "stopped"):
        todo = "start it first" if experiment.status == "created" else "create a new one"
        raise ExperimentRefused(f"experiment {experiment_id} is {_said(experiment)}; {todo}")
    if variant in experiment.stopped_variants:
        reason = experiment.stopped_variants[variant].reason
        raise ExperimentRefused(
            f"{variant} of experiment {experiment_id} was stopped ({reason}); it is not promoted, not even by force"
        )
    planned = experiment.plan.variant(variant)
    if planned.weights is not None:
        raise ExperimentRefused(
            f"{variant} of experiment {experiment_id} decides with weights of its own, and the live policy with those "
            "that its caller chose, so something else would be promoted; set these weights in the catalogue "
            "(weights.auto, or another preset), and promote a variant without any"
        )
    if planned.pool:
        raise ExperimentRefused(
            f"{variant} of experiment {experiment_id} has a pool of its own ({', '.join(planned.pool)}), and the live "
            "policy has all tiers, so something else would be promoted; change the catalogue's tiers, and promote a "
            "variant without a pool"
        )
    return experiment


def _claim(state: LedgerState, experiment: Experiment, traffic: float) -> Pieces:
    """The units of this experiment: those that it has, less or more as the traffic says. Raises ExperimentRefused."""
    others = {one.experiment_id: one.claim for one in state.running() if one.experiment_id != experiment.experiment_id}
    free, wanted = free_of(others.values()), round(traffic * TICKS)
    if wanted > size(free):
        claims = ", ".join(f"{name} {size(pieces) / TICKS:g}" for name, pieces in others.items())
        raise ExperimentRefused(
            f"experiment {experiment.experiment_id} wants {traffic:g} of all units, and {size(free) / TICKS:g} are "
            f"free (taken: {claims}); ask for less, or stop another"
        )
    # After a stop the old units may have been taken by others: what is still free of them comes first.
    own = _common(experiment.claim, free)
    return reshared({"": own}, {"": wanted}, free_of([own, *others.values()]))[""]


def _common(pieces: Pieces, free: Pieces) -> Pieces:
    found = ((max(a, c), min(b, d)) for a, b in pieces for c, d in free)
    return tuple((start, end) for start, end in found if start < end)


def _newest_decision_s(connection: Connection, plan: Plan) -> float | None:
    columns = [column(plan, name, carry_over=carry) for name in plan.names for carry in (False, True)]
    return events.newest_decision_s(connection, columns)


def _reason(reason: str) -> str:
    # Also of faults, in a policy's own words: what cannot be stored is told by its code, or nothing would be stopped.
    reason = reason.encode("utf-8", "backslashreplace").decode().replace("\0", r"\x00")
    if not is_text(reason, 1_000_000):
        raise ExperimentRefused("a reason is missing; say in a sentence why, the history keeps it")
    return reason.strip()[:_REASON_CHARACTERS]


def _said(experiment: Experiment) -> str:
    status = experiment.status.replace("_", " ")
    return status if experiment.ended is None else f"{status} ({experiment.ended.reason})"
