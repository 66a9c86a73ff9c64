"""The fold: joins in the order of their positions, learned by one policy. Pure: no clock, no database, no randomness.

The state after position n depends on the joins up to n and on nothing else, so a snapshot and the joins after it give
the same bytes as a run that was never interrupted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .context import Context, Record
from .errors import BadRecord, BadRow, BadState, NoArmAvailable
from .features import as_schema
from .joins import join_from_row
from .policy import Policy

_log = logging.getLogger(__name__)

MakePolicy = Callable[[], Policy]
Learns = Callable[[str | None], bool]  # whether records of this variant are learned


@dataclass(frozen=True, slots=True)
class Refusal:
    """A join that a policy did not learn from, and why."""

    position: int
    decision_id: str
    reason: str


class Fold:
    """One policy and the position up to which it has learned."""

    def __init__(self, make_policy: MakePolicy, features_schema: str, learns: Learns | None = None) -> None:
        """`make_policy` builds the policy with nothing learned; `features_schema` is the one that it understands.

        `learns` chooses records by their variant alone; what it leaves out moves the position and nothing else. With
        it, records of another schema are left out too, as a variant's with other features; without it they are refused.
        """
        self._make_policy = make_policy
        self.features_schema = features_schema
        self._learns = learns
        self._last: Record | None = None  # the newest that was learned: its context is what a state is tried on
        self.policy = make_policy()
        self.position = 0
        self.learned = 0  # records since this object was made

    def restore(self, payload: bytes, position: int) -> None:
        """Go on from a snapshot. Raises BadState and stays as it was if the policy does not take the bytes."""
        policy = self._make_policy()
        policy.restore(payload)
        self.policy = policy
        self.position = position

    def learn(self, rows: Iterable[dict[str, Any]]) -> list[Refusal]:
        """Fold raw rows of joins, in order, skipping those at or before the own position. What was refused comes back.

        A refused record changes nothing and stops nothing. Raises ValueError if a position is missing.
        """
        refusals = []
        for row in rows:
            position = row["position"]
            if position <= self.position:
                continue
            if position != self.position + 1:
                raise ValueError(f"join {position} follows {self.position}: positions must be contiguous")
            reason = self._learn(row)
            if reason is not None:
                _log.warning("join %d (decision %s) not learned: %s", position, row["decision_id"], reason)
                refusals.append(Refusal(position, row["decision_id"], reason))
            self.position = position
        return refusals

    def check(self, payload: bytes) -> None:
        """Raise unless a fresh policy takes the bytes, gives the same back, and decides with finite probabilities."""
        fresh = self._make_policy()
        fresh.restore(payload)
        if fresh.state() != payload:
            raise BadState("a policy restored from the state has another state; a restart would not be exact")
        if self._last is None:
            return
        try:
            decision = fresh.decide(_all_available(self._last), Random(0))
        except NoArmAvailable:
            return  # a policy may know other arms than this record's, and that says nothing about its state
        probabilities = decision.probabilities.values()
        if not all(math.isfinite(p) and 0 <= p <= 1 for p in probabilities) or abs(sum(probabilities) - 1) > 1e-3:
            raise BadState(f"a policy restored from the state gives the probabilities {dict(decision.probabilities)}")

    def _learn(self, row: dict[str, Any]) -> str | None:
        if self._learns is not None and not self._learns(_variant(row)):
            return None
        try:
            record = join_from_row(row).record
            if record is None:
                return None
            features = as_schema(record.context.features, self.features_schema)
            if features is None:
                if self._learns is not None:
                    return None
                schema = record.context.features.schema
                return f"its features are {schema}, this policy learns from {self.features_schema}"
            if features is not record.context.features:
                record = replace(record, context=replace(record.context, features=features))
            if self._learns is None and not _is_live(record.variant):
                record = replace(record, own=False)
            self.policy.learn(record)
        except (BadRecord, BadRow) as error:
            return str(error)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # A policy should raise BadRecord. One that does not must still not stop the fold for good at this position.
            return f"unexpected {error!r}"
        self._last = record
        self.learned += 1
        return None


def _variant(row: dict[str, Any]) -> str | None:
    """Of a raw join, without decoding the record: most are of others."""
    stored = row["record"]
    return stored.get("variant") if isinstance(stored, dict) else None


def _is_live(variant: str | None) -> bool:
    """Decided outside of any experiment. What variants spend, also those of the live policy, is no other's spending."""
    return variant is None or variant.endswith(":live")


def _all_available(record: Record) -> Context:
    arms = tuple(replace(arm, available=True) for arm in record.context.arms)
    return replace(record.context, arms=arms)
