"""Policies that decide beside the one that acts: their decisions, and what they would have earned.

A shadow's row says with which probability it would have drawn each arm, for a context that another policy decided. What
that would have earned is an off-policy estimate from the rewards of what was drawn (`bandit.evaluation.estimators`),
never a guess from how often the two agree, which is told beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from sqlalchemy import Connection, Text, cast, insert, select

from bandit.confidence import Interval
from bandit.context import Decision, Weights
from bandit.errors import BadRow
from bandit.evaluation.estimators import PerArm, value_of_probabilities
from bandit.journal import Journal
from bandit.tables import decisions, shadow_decisions

from .observations import Units, observe

MOST_UTILITY = 1.0  # utilities beyond -1 and 1 are cut for the estimate, whose interval needs a range fixed before
_IDS = 500  # per statement


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """What one variant would have drawn for one decision."""

    decision_id: str
    variant: str  # "experiment:variant"
    created_at_s: float  # Unix time
    policy: str
    snapshot_version: int | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class ShadowValue:
    """Mean utility (cut to [-1, 1]) that the shadow would have earned; `difference` is to what acted, at every look."""

    rounds: int  # decisions of the control that both have and whose utility is known
    agreement: float | None  # how probable it is on average that the shadow draws the same arm
    value: float | None
    acting_value: float | None
    difference: Interval


def append_shadows(journal: Journal, rows: Sequence[ShadowRow]) -> int:
    """Store rows; how many were new. One that is there already stays. Raises BadRow, JournalAway."""
    values = {(row.decision_id, row.variant): _values(row) for row in rows}
    with journal.write() as connection:
        known: set[tuple[str, str]] = set()
        ids = sorted({decision_id for decision_id, _ in values})
        for start in range(0, len(ids), _IDS):
            columns = shadow_decisions.c.decision_id, shadow_decisions.c.variant
            found = connection.execute(select(*columns).where(columns[0].in_(ids[start : start + _IDS])))
            known |= {(row.decision_id, row.variant) for row in found}
        fresh = [value for key, value in values.items() if key not in known]
        if fresh:
            connection.execute(insert(shadow_decisions), fresh)
    return len(fresh)


def shadow_value(
    connection: Connection,
    shadow: str,
    acting: str,
    *,
    alpha: float,
    after_s: float | None = None,
    judged_by: Weights | None = None,
) -> ShadowValue:
    """What a shadow would have earned in place of the variant that acted (both "experiment:variant")."""
    seen = observe(connection, acting, Units("request"), after_s=after_s, judged_by=judged_by)
    query = (
        select(
            decisions.c.arm,
            decisions.c.propensity,
            cast(decisions.c.probabilities, Text),
            cast(shadow_decisions.c.probabilities, Text),
        )
        .outerjoin(
            shadow_decisions,
            (shadow_decisions.c.decision_id == decisions.c.decision_id) & (shadow_decisions.c.variant == shadow),
        )
        .where(decisions.c.variant == acting)
        .order_by(decisions.c.created_at_s, decisions.c.decision_id)
    )
    if after_s is not None:
        query = query.where(decisions.c.created_at_s > after_s)
    rows = connection.execute(query).all()
    assert len(rows) == len(seen.utility)
    kept, logged, target = [], [], []
    for row, utility in zip(rows, seen.utility.tolist(), strict=True):
        if row[3] is None or not isfinite(utility):
            continue
        drawn_from, would_draw = json.loads(row[2]), json.loads(row[3])
        if drawn_from.keys() == would_draw.keys():  # else the two saw different arms
            kept.append((row, utility))
            logged.append(drawn_from)
            target.append(would_draw)
    if not kept:
        return ShadowValue(0, None, None, None, Interval(-2 * MOST_UTILITY, 2 * MOST_UTILITY))
    arms = {name: place for place, name in enumerate(dict.fromkeys(name for one in logged for name in one))}
    drawn = np.array([arms[row[0]] for row, _ in kept])
    per_arm = PerArm(drawn, _matrix(logged, arms), _matrix(target, arms))
    reward = np.clip(np.array([utility for _, utility in kept]), -MOST_UTILITY, MOST_UTILITY)
    valuation = value_of_probabilities(
        np.array([row[1] for row, _ in kept]),
        per_arm.target[np.arange(len(kept)), drawn],
        reward,
        alpha=alpha,
        low=-MOST_UTILITY,
        high=MOST_UTILITY,
        arms=per_arm,
    )
    best = valuation.best
    return ShadowValue(
        rounds=len(kept),
        agreement=float((per_arm.logged * per_arm.target).sum(axis=1).mean()),
        value=best.value,
        acting_value=float(reward.mean()),
        difference=best.difference_interval,
    )


def _matrix(rounds: Sequence[Mapping[str, float]], arms: Mapping[str, int]) -> np.ndarray:
    matrix = np.zeros((len(rounds), len(arms)))
    for place, probabilities in enumerate(rounds):
        for name, probability in probabilities.items():
            matrix[place, arms[name]] = probability
    return matrix


def _values(row: ShadowRow) -> dict[str, Any]:
    probabilities = dict(row.decision.probabilities)
    sound = all(0 <= one <= 1 for one in probabilities.values()) and abs(sum(probabilities.values()) - 1) < 1e-3
    if not sound or row.decision.arm not in probabilities or not isfinite(row.created_at_s):
        raise BadRow(
            f"shadow decision {row.decision_id} of {row.variant} holds {probabilities} at {row.created_at_s!r}; "
            "allowed: probabilities that add up to 1, the drawn arm among them, and a finite time"
        )
    return {
        "decision_id": row.decision_id,
        "variant": row.variant,
        "created_at_s": row.created_at_s,
        "policy": row.policy,
        "snapshot_version": row.snapshot_version,
        "arm": row.decision.arm,
        "probabilities": probabilities,
    }
