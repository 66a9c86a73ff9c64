"""Joins: closing the stories of decisions, in an order that is decided once and numbered 1, 2, 3, ...

A join closes when the outcome and a quality are there, or `window_s` after the outcome without one; then the
declared default stands in. What was not served closes too, without a record. Only the holder of the lease closes joins.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from .appends import chunks, lock_decisions, remove_open, rows_of
from .codec import context_from_json, decision_from_json, record_from_json, record_to_json
from .context import Record
from .errors import BadRow
from .rows import JoinRow
from .signals import SignalKind
from .tables import decisions, joins, open_joins, outcomes, signals


def close_due(connection: Connection, *, now_s: float, window_s: float, default_quality: float, limit: int) -> int:
    """Close up to `limit` joins that are due, oldest outcome first; how many were closed.

    The caller has checked the lease in this transaction: positions are taken without gaps, so there is one writer.
    """
    ids = _due(connection, now_s, window_s, limit)
    if not ids:
        return 0
    lock_decisions(connection, ids)
    decision_rows = rows_of(connection, decisions, ids)
    outcome_rows = rows_of(connection, outcomes, ids)
    signals_by_id = _signals(connection, ids)
    first = last_position(connection) + 1
    values = []
    for position, decision_id in enumerate(ids, start=first):
        reason, record = _close(
            decision_rows[decision_id], outcome_rows[decision_id], signals_by_id.get(decision_id, []), default_quality
        )
        values.append(
            {
                "position": position,
                "decision_id": decision_id,
                "closed_at_s": now_s,
                "reason": reason,
                "record": None if record is None else record_to_json(record),
            }
        )
    connection.execute(insert(joins), values)
    remove_open(connection, ids)
    return len(ids)


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
    )


def _due(connection: Connection, now_s: float, window_s: float, limit: int) -> list[str]:
    column, since_s = open_joins.c.decision_id, open_joins.c.since_s
    order = (since_s, column)
    ready = select(column).where(open_joins.c.ready.is_(True)).order_by(*order).limit(limit)
    ids = list(connection.scalars(ready))
    if len(ids) < limit:
        waited = select(column).where(open_joins.c.ready.is_(False), since_s <= now_s - window_s)
        ids += connection.scalars(waited.order_by(*order).limit(limit - len(ids)))
    return ids


def _signals(connection: Connection, ids: list[str]) -> dict[str, list[Row[Any]]]:
    """Per decision its signals, the earliest first: of several sources of one kind the earliest counts."""
    found: dict[str, list[Row[Any]]] = {}
    for chunk in chunks(ids):
        query = select(signals).where(signals.c.decision_id.in_(chunk))
        for row in connection.execute(query.order_by(signals.c.received_at_s, signals.c.source)):
            found.setdefault(row.decision_id, []).append(row)
    return found


def _close(
    decision: dict[str, Any], outcome: dict[str, Any], arrived: list[Row[Any]], default_quality: float
) -> tuple[str, Record | None]:
    if outcome["status"] != "served":
        return "not_served", None
    quality = next((row.value for row in arrived if row.kind == SignalKind.QUALITY), None)
    rating = next((row.value for row in arrived if row.kind == SignalKind.RATING), None)
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
            latency_s=outcome["latency_s"],
            cost_usd=outcome["cost_usd"],
            quality=default_quality if quality is None else quality,
            quality_is_default=quality is None,
            rating=rating,
        )
    except BadRow:
        return "unreadable", None  # else this one story would hold up all that come after it
    return ("window" if quality is None else "complete"), record
