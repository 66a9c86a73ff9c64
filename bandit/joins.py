"""Joins: closing the stories of decisions, in an order that is decided once and numbered 1, 2, 3, ...

A join closes when the outcome and a quality are there, or `window_s` after the outcome without one; then the
declared default stands in. What was not served closes too, without a record. Only the holder of the lease closes joins.

Votes mostly come after that. Of each decision the first vote that counts is learned: in the outcome's join if it is
there by then, else in a join of its own, whose record says that it amends. A vote counts if it was received within
`vote_window_s` of the outcome, however long the learner took to get to it, and if it is the caller's where the caller
gave a name. All other votes on what was served close in joins without a record, whose reasons say why.

`default_quality` stands in a record for reports and off-policy rewards. It is marked there, and no policy learns it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from .appends import add_votes, chunks, lock_decisions, remove_open, rows_of
from .codec import context_from_json, decision_from_json, record_from_json, record_to_json
from .context import Record
from .errors import BadRow
from .rows import JoinRow
from .signals import SignalKind
from .tables import decisions, joins, open_joins, outcomes, signals
from .votes import is_callers, is_in_time

LATE_ERROR = "late"  # of an attempt that was given up because it took too long


def close_due(
    connection: Connection,
    *,
    now_s: float,
    window_s: float,
    vote_window_s: float,
    default_quality: float,
    limit: int,
) -> int:
    """Close up to `limit` joins that are due, oldest first; how many were closed.

    The caller has checked the lease in this transaction: positions are taken without gaps, so there is one writer.
    """
    due = _due(connection, now_s, window_s, limit)
    if not due:
        return 0
    told = [decision_id for decision_id, source in due if not source]
    voted = sorted({decision_id for decision_id, source in due if source})
    lock_decisions(connection, told + voted)
    decision_rows = rows_of(connection, decisions, told)
    outcome_rows = rows_of(connection, outcomes, told + voted)
    signals_by_id = _signals(connection, told + voted)
    learned = _learned(connection, voted)
    rated = _rated(connection, voted)
    callers = _callers(connection, told + voted)
    first = last_position(connection) + 1
    values = []
    apart: list[tuple[str, str, float]] = []
    for position, (decision_id, source) in enumerate(due, start=first):
        outcome, arrived = outcome_rows[decision_id], signals_by_id.get(decision_id, [])
        ratings = [row for row in arrived if row.kind == SignalKind.RATING]
        in_time = [row for row in ratings if is_in_time(row.received_at_s, outcome["completed_at_s"], vote_window_s)]
        counted = [row for row in in_time if is_callers(row.source, callers[decision_id])]
        if source:
            if not is_callers(source, callers[decision_id]):
                reason, record = "other_caller", None
            elif not (vote := [row for row in in_time if row.source == source]):
                reason, record = "late", None
            elif decision_id in rated:
                reason, record = "already_rated", None
            else:
                reason, record = _close_vote(learned.get(decision_id), vote[0])
                rated.add(decision_id)
        else:
            quality = next((row.value for row in arrived if row.kind == SignalKind.QUALITY), None)
            rating = counted[0].value if counted else None
            reason, record = _close(decision_rows[decision_id], outcome, quality, rating, default_quality)
            if record is not None:
                apart += [(decision_id, row.source, row.received_at_s) for row in ratings if row not in counted[:1]]
        values.append(
            {
                "position": position,
                "decision_id": decision_id,
                "source": source,
                "closed_at_s": now_s,
                "reason": reason,
                "record": None if record is None else record_to_json(record),
            }
        )
    connection.execute(insert(joins), values)
    remove_open(connection, due)
    add_votes(connection, apart)
    return len(due)


def last_position(connection: Connection) -> int:
    """The newest join's position, 0 before the first."""
    return connection.scalar(select(func.coalesce(func.max(joins.c.position), 0))) or 0


def joins_after(connection: Connection, position: int, limit: int) -> list[dict[str, Any]]:
    """Raw rows of the next joins in the fold's order; `join_from_row` reads one."""
    query = select(joins).where(joins.c.position > position).order_by(joins.c.position).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def join_from_row(row: dict[str, Any]) -> JoinRow:
    """A join with its record decoded. Raises BadRow if the record cannot be read back."""
    record = None if row["record"] is None else record_from_json(row["record"])
    return JoinRow(
        position=row["position"],
        decision_id=row["decision_id"],
        closed_at_s=row["closed_at_s"],
        reason=row["reason"],
        record=record,
        source=row["source"],
    )


def _due(connection: Connection, now_s: float, window_s: float, limit: int) -> list[tuple[str, str]]:
    """Decision id and source of what is to be closed now."""
    since_s = open_joins.c.since_s
    columns = (open_joins.c.decision_id, open_joins.c.source)
    order = (since_s, *columns)
    ready = select(*columns).where(open_joins.c.ready.is_(True)).order_by(*order).limit(limit)
    due = [(row.decision_id, row.source) for row in connection.execute(ready)]
    if len(due) < limit:
        waited = select(*columns).where(open_joins.c.ready.is_(False), since_s <= now_s - window_s)
        late = connection.execute(waited.order_by(*order).limit(limit - len(due)))
        due += [(row.decision_id, row.source) for row in late]
    return due


def _signals(connection: Connection, ids: list[str]) -> dict[str, list[Row[Any]]]:
    """Per decision its signals, the earliest first: of several qualities the earliest counts."""
    found: dict[str, list[Row[Any]]] = {}
    for chunk in chunks(ids):
        query = select(signals).where(signals.c.decision_id.in_(chunk))
        for row in connection.execute(query.order_by(signals.c.received_at_s, signals.c.source)):
            found.setdefault(row.decision_id, []).append(row)
    return found


def _learned(connection: Connection, ids: list[str]) -> dict[str, Any]:
    """What was learned of these decisions, as it is stored, by id."""
    found: dict[str, Any] = {}
    for chunk in chunks(ids):
        query = select(joins.c.decision_id, joins.c.record).where(joins.c.decision_id.in_(chunk), joins.c.source == "")
        found.update((row.decision_id, row.record) for row in connection.execute(query))
    return found


def _rated(connection: Connection, ids: list[str]) -> set[str]:
    """Those of the decisions of which a vote was learned, with the outcome or after it."""
    found: set[str] = set()
    for chunk in chunks(ids):
        query = select(joins.c.decision_id, joins.c.record).where(
            joins.c.decision_id.in_(chunk), joins.c.record.is_not(None)
        )
        found.update(row.decision_id for row in connection.execute(query) if row.record.get("rating") is not None)
    return found


def _callers(connection: Connection, ids: list[str]) -> dict[str, str | None]:
    """The hash of each decision's caller, None where the caller gave no name."""
    found: dict[str, str | None] = {}
    for chunk in chunks(ids):
        query = select(decisions.c.decision_id, decisions.c.caller_hash).where(decisions.c.decision_id.in_(chunk))
        found.update((row.decision_id, row.caller_hash) for row in connection.execute(query))
    return found


def _close(
    decision: dict[str, Any],
    outcome: dict[str, Any],
    quality: float | None,
    rating: float | None,
    default_quality: float,
) -> tuple[str, Record | None]:
    if outcome["status"] != "served":
        return "not_served", None
    try:
        record = Record(
            decision_id=decision["decision_id"],
            context=context_from_json(
                decision["features_schema"], decision["features"], decision["arms"], decision["weights"]
            ),
            decision=decision_from_json(
                decision["arm"], decision["propensity"], decision["probabilities"], decision["predictions"]
            ),
            served_arm=outcome["served_arm"],
            latency_s=_own_latency_s(outcome),
            cost_usd=outcome["cost_usd"] / decision["images"],
            quality=default_quality if quality is None else quality,
            quality_is_default=quality is None,
            rating=rating,
            images=decision["images"],
            late=tuple((one["arm"], one["elapsed_s"]) for one in outcome["attempts"] if one["error"] == LATE_ERROR),
            variant=decision["variant"],
            decided_at_s=decision["created_at_s"],
        )
    except (BadRow, AttributeError, KeyError, TypeError):
        return "unreadable", None  # else this one story would hold up all that come after it
    return ("window" if quality is None else "complete"), record


def _own_latency_s(outcome: dict[str, Any]) -> float:
    """What the served arm itself took: a fallback is not charged with the time of those that failed before it."""
    own = [
        one["elapsed_s"] for one in outcome["attempts"] if one["error"] is None and one["arm"] == outcome["served_arm"]
    ]
    return own[-1] if own else outcome["latency_s"]


def _close_vote(learned: Any, vote: Row[Any]) -> tuple[str, Record | None]:
    """What was learned before, with the vote: a quality that came too late to be learned stays unlearned."""
    try:
        return "vote", replace(record_from_json(learned), rating=vote.value, amends=True)
    except BadRow:
        return "unreadable", None
