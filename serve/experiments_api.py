"""What the routes of experiments do: an operator's commands as calls of the ledger, and what is answered.

Every change is one event in the journal; this gateway acts by it at once, others within a second.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bandit.context import ArmContext
from bandit.errors import (
    BadPlan,
    ExperimentConflict,
    ExperimentError,
    ExperimentRefused,
    JournalAway,
    NoEvidence,
    UnknownExperiment,
    UnknownVariant,
)
from bandit.experiments.analysis import report
from bandit.experiments.design import plan_from_json, plan_to_json
from bandit.experiments.events import Event
from bandit.experiments.ledger import Ledger
from bandit.experiments.plan import Plan
from bandit.experiments.report import report_to_json
from bandit.experiments.state import Experiment, LedgerState, LivePolicy
from bandit.features import DEFAULT_SCHEMA, SCHEMAS, needs_vector
from bandit.journal import Journal

from .api import check_names, checked_body
from .deciding import features_schema
from .openai_errors import Refusal, bad_value

Json = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StartRequest(_Request):
    """Body of POST /v1/experiments/{id}/start: an empty object."""


class RampRequest(_Request):
    """Body of POST /v1/experiments/{id}/ramp; what is absent stays as it is."""

    traffic: Annotated[float | None, Field(allow_inf_nan=False, description="share of all units")] = None
    weights: Annotated[dict[str, Share] | None, Field(description="of every variant; they add up to 1")] = None


class StopRequest(_Request):
    """Body of POST /v1/experiments/{id}/stop."""

    reason: Annotated[str, Field(min_length=1, max_length=2000, description="why, for the history")]
    variant: Annotated[str | None, Field(description="absent: the whole experiment")] = None


class PromoteRequest(_Request):
    """Body of POST /v1/experiments/{id}/promote."""

    variant: Annotated[str, Field(description="whose policy becomes the live one")]
    force: Annotated[bool, Field(description="also without evidence; this is logged")] = False
    reason: Annotated[str | None, Field(min_length=1, max_length=2000, description="why, for the history")] = None


class RollBackRequest(_Request):
    """Body of POST /v1/experiments/{id}/rollback."""

    reason: Annotated[str, Field(min_length=1, max_length=2000, description="why, for the history")]


class ExperimentsApi:
    """One gateway's side of it. Blocking work is done in threads. All raise Refusal and JournalAway."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        catalogue: LivePolicy,
        arms: tuple[ArmContext, ...],
        look: Callable[[], None],
        clock: Callable[[], float] = time.time,
        *,
        encodes: bool = False,
    ) -> None:
        """`arms` are those of the catalogue; `look` lets this gateway see what was changed.

        `encodes`: the catalogue has a sentence encoder, so policies may see vectors of prompts.
        """
        self._journal = journal
        self._ledger = ledger
        self._catalogue = catalogue
        self._arms = arms
        self._look = look
        self._clock = clock
        self._encodes = encodes

    async def create(self, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments."""

        check_names(body, tuple(field.name for field in fields(Plan)))

        def act() -> Experiment:
            plan = plan_from_json(body)
            self._check_arms(plan)
            return self._ledger.create(plan, actor, self._clock())

        return await self._change(act)

    async def start(self, experiment_id: str, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments/{id}/start."""
        checked_body(StartRequest, body)

        def act() -> Experiment:
            self._check_arms(self._ledger.experiment(experiment_id).plan)  # it may be older than the catalogue
            return self._ledger.start(experiment_id, actor, self._clock(), catalogue=self._catalogue)

        return await self._change(act)

    async def ramp(self, experiment_id: str, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments/{id}/ramp."""
        asked = checked_body(RampRequest, body)
        if asked.traffic is None and asked.weights is None:
            raise bad_value(None, "There is nothing to ramp: give traffic, weights or both.")
        return await self._change(
            lambda: self._ledger.ramp(experiment_id, actor, self._clock(), weights=asked.weights, traffic=asked.traffic)
        )

    async def stop(self, experiment_id: str, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments/{id}/stop: all of it, or one variant."""
        asked = checked_body(StopRequest, body)
        if asked.variant is None:
            return await self._change(
                lambda: self._ledger.stop(experiment_id, actor, self._clock(), reason=asked.reason)
            )
        variant = asked.variant
        return await self._change(
            lambda: self._ledger.stop_variant(
                experiment_id, variant, actor, self._clock(), reason=asked.reason, once=False
            )
        )

    async def promote(self, experiment_id: str, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments/{id}/promote."""
        asked = checked_body(PromoteRequest, body)
        return await self._change_live(
            lambda: self._ledger.promote(
                experiment_id, asked.variant, actor, self._clock(), force=asked.force, reason=asked.reason
            )
        )

    async def roll_back(self, experiment_id: str, body: Mapping[str, Any], actor: str) -> Json:
        """POST /v1/experiments/{id}/rollback."""
        asked = checked_body(RollBackRequest, body)
        return await self._change_live(
            lambda: self._ledger.roll_back(experiment_id, actor, self._clock(), reason=asked.reason)
        )

    async def experiments(self) -> Json:
        """GET /v1/experiments."""
        state = await asyncio.to_thread(self._ledger.state)
        return {
            "object": "list",
            "data": [experiment_body(one) for one in state.experiments.values()],
            "live_policy": self._live_body(state),
            "unreadable": dict(state.unreadable),
        }

    async def experiment(self, experiment_id: str) -> Json:
        """GET /v1/experiments/{id}: the plan, how it stands, and every event."""

        def read() -> Json:
            experiment = self._ledger.experiment(experiment_id)
            told = [_event_body(event) for event in self._ledger.events(experiment_id)]
            return experiment_body(experiment) | {"events": told}

        return await _answered(read)

    async def report(self, experiment_id: str) -> Json:
        """GET /v1/experiments/{id}/report."""
        return await _answered(
            lambda: {
                "object": "experiment.report",
                **report_to_json(report(self._journal, experiment_id, self._clock())),
            }
        )

    async def _change(self, act: Callable[[], Experiment]) -> Json:
        return await _answered(lambda: self._changed(act))

    async def _change_live(self, act: Callable[[], Experiment]) -> Json:
        """The answer says which policy is live now, and whether it was another one before."""

        def changed() -> Json:
            before = self._ledger.state().live or self._catalogue
            told = self._changed(act)
            with suppress(JournalAway):
                state = self._ledger.state()
                live = state.live or self._catalogue
                told |= {"live_policy": self._live_body(state), "live_policy_changed": live != before}
            return told

        return await _answered(changed)

    def _changed(self, act: Callable[[], Experiment]) -> Json:
        experiment = act()
        with suppress(JournalAway):  # it is stored; this gateway sees it with its next look
            self._look()
        return experiment_body(experiment)

    def _check_arms(self, plan: Plan) -> None:
        """What only a gateway knows: which tiers there are, and whether an encoder. Raises BadPlan."""
        arms = [arm.name for arm in self._arms]
        tiers = dict.fromkeys(arm.tier for arm in self._arms)
        for variant in plan.variants:
            for name in variant.pool:
                if name not in arms and name not in tiers:
                    raise BadPlan(
                        f"variants: the pool of {variant.name} has {name!a:.60}; allowed: {', '.join([*tiers, *arms])}"
                    )
            arm = variant.options.get("arm")
            if variant.policy == "fixed" and arm not in arms:
                raise BadPlan(f"variants: {variant.name} is fixed to {arm!a:.60}; allowed: {', '.join(arms)}")
            schema = features_schema(variant.options)
            if not self._encodes and schema in SCHEMAS and needs_vector(schema):
                raise BadPlan(
                    f"variants: {variant.name} has features_schema {schema}, which needs a sentence encoder, and the "
                    f"catalogue has none: add encoder: {{}} to it, or use {DEFAULT_SCHEMA}"
                )

    def _live_body(self, state: LedgerState) -> Json:
        live = state.live or self._catalogue
        promoted_by = state.promotions[-1].experiment_id if state.promotions else None
        return {"name": live.name, "options": dict(live.options), "promoted_by": promoted_by}


def experiment_body(experiment: Experiment) -> Json:
    """How one experiment stands; times are Unix seconds."""
    return {
        "object": "experiment",
        "experiment_id": experiment.experiment_id,
        "status": experiment.status,
        "plan": plan_to_json(experiment.plan),
        "weights": dict(experiment.weights),
        "traffic": experiment.traffic,
        "created_s": experiment.created_s,
        "started_s": experiment.started_s,
        "counted_since_s": experiment.since_s,
        "counted_since": experiment.since or None,
        "stopped_variants": {
            name: {"reason": one.reason, "at_s": one.at_s, "actor": one.actor}
            for name, one in experiment.stopped_variants.items()
        },
        "ended": None
        if experiment.ended is None
        else {"reason": experiment.ended.reason, "at_s": experiment.ended.at_s, "actor": experiment.ended.actor},
        "promoted": experiment.promoted,
        "seq": experiment.seq,
        "notes": _notes(experiment),
    }


def _notes(experiment: Experiment) -> list[str]:
    """What an operator should know of the plan before its report tells anything."""
    if experiment.plan.kind != "pools" or experiment.traffic == 1:
        return []
    return [
        f"The other {1 - experiment.traffic:g} of all units get the live policy, which uses the same tiers: they wait "
        "in the queues of every pool, so only a traffic of 1 keeps the pools apart."
    ]


def _event_body(event: Event) -> Json:
    body = {name: value for name, value in event.body.items() if name not in ("claim", "shares", "snapshots")}
    return {"seq": event.seq, "at_s": event.at_s, "kind": event.kind, "actor": event.actor, **body}


async def _answered(act: Callable[[], Json]) -> Json:
    try:
        return await asyncio.to_thread(act)
    except BadPlan as error:
        raise Refusal(400, str(error), code="invalid_plan", param=_param_of(str(error))) from error
    except UnknownVariant as error:
        raise Refusal(404, str(error), code="variant_not_found", param="variant") from error
    except UnknownExperiment as error:
        raise Refusal(404, str(error), code="experiment_not_found", param="experiment_id") from error
    except NoEvidence as error:
        raise Refusal(409, str(error), code="no_evidence") from error
    except ExperimentConflict as error:
        raise Refusal(409, str(error), code="experiment_conflict") from error
    except ExperimentRefused as error:
        raise Refusal(409, str(error), code="experiment_refused") from error
    except ExperimentError as error:
        raise Refusal(400, str(error), code="invalid_value") from error


def _param_of(message: str) -> str | None:
    """The field of a plan that a message is about: the first that it names."""
    names = {field.name: field.name for field in fields(Plan)} | {
        "variant": "variants",
        "guardrail": "guardrails",
        "weight": "variants",
        "weights": "variants",
    }
    return next((names[word] for word in re.findall(r"[a-z_]+", message) if word in names), None)
