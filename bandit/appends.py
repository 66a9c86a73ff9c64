"""Appending rows inside one open transaction, each with its own verdict: one refused row stops no other.

Sending the same row again is always safe, which is what makes retries after a lost connection possible.
Whoever changes the story of a decision locks its row first, so that on PostgreSQL a signal and the closing of the join
see each other (SQLite has one writer at a time anyway).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from .codec import arm_to_json, features_to_json, predictions_to_json, weights_to_json
from .errors import BadRow, BanditError, Contradiction, RowConflict, UnknownDecision
from .rows import LEARNED_REASONS, DecisionRow, OutcomeRow, Row, SignalRow, Verdict
from .signals import SignalKind
from .tables import decisions, joins, open_joins, outcomes, signals

Result = Verdict | BanditError

_CHUNK = 500  # ids per statement


def append(connection: Connection, rows: Sequence[Row]) -> list[Result]:
    """Append checked rows of any kinds: decisions first, then outcomes, then signals. Answers in the order given."""
    results: list[Result] = [Verdict.ACCEPTED] * len(rows)

    def answer(places: list[int], verdicts: list[Result]) -> None:
        for place, verdict in zip(places, verdicts, strict=True):
            results[place] = verdict

    drawn = [(place, row) for place, row in enumerate(rows) if isinstance(row, DecisionRow)]
    served = [(place, row) for place, row in enumerate(rows) if isinstance(row, OutcomeRow)]
    measured = [(place, row) for place, row in enumerate(rows) if isinstance(row, SignalRow)]
    if drawn:
        answer([place for place, _ in drawn], _decisions(connection, [row for _, row in drawn]))
    if served:
        answer([place for place, _ in served], _outcomes(connection, [row for _, row in served]))
    if measured:
        answer([place for place, _ in measured], _signals(connection, [row for _, row in measured]))
    return results


def lock_decisions(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Lock the rows of these decisions until the transaction ends; the ids that exist come back."""
    found: set[str] = set()
    for chunk in chunks(sorted(set(ids))):  # sorted: two transactions lock in the same order and cannot deadlock
        column = decisions.c.decision_id
        found.update(connection.scalars(select(column).where(column.in_(chunk)).order_by(column).with_for_update()))
    return found


def rows_of(connection: Connection, table: Table, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows by decision id, of a table that has one per decision."""
    found: dict[str, dict[str, Any]] = {}
    for chunk in chunks(sorted(set(ids))):
        for row in connection.execute(select(table).where(table.c.decision_id.in_(chunk))).mappings():
            found[row["decision_id"]] = dict(row)
    return found


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def decision_values(row: DecisionRow) -> dict[str, Any]:
    """The row's columns."""
    context, decision = row.context, row.decision
    return {
        "decision_id": row.decision_id,
        "created_at_s": row.created_at_s,
        "model_requested": row.model_requested,
        "policy": row.policy,
        "variant": row.variant,
        "snapshot_version": row.snapshot_version,
        "features_schema": context.features.schema,
        "features": features_to_json(context.features),
        "arms": [arm_to_json(arm) for arm in context.arms],
        "weights": weights_to_json(context.weights, context.limits),
        "probabilities": dict(decision.probabilities),
        "predictions": predictions_to_json(decision.predictions),
        "arm": decision.arm,
        "propensity": decision.propensity,
        "caller_hash": row.caller_hash,
        "prompt_hmac": row.prompt_hmac,
        "prompt": row.prompt,
        "images": row.images,
        "width_px": row.width_px,
        "height_px": row.height_px,
        "seed": row.seed,
    }


def outcome_values(row: OutcomeRow) -> dict[str, Any]:
    """The row's columns."""
    return {
        "decision_id": row.decision_id,
        "served_arm": row.served_arm,
        "replica_id": row.replica_id,
        "status": row.status,
        "latency_s": row.latency_s,
        "service_s": row.service_s,
        "cost_usd": row.cost_usd,
        "attempts": [
            {"arm": attempt.arm, "error": attempt.error, "elapsed_s": attempt.elapsed_s} for attempt in row.attempts
        ],
        "completed_at_s": row.completed_at_s,
    }


def _decisions(connection: Connection, rows: Sequence[DecisionRow]) -> list[Result]:
    values = [decision_values(row) for row in rows]
    results, fresh = _sort_out(connection, decisions, values)
    if fresh:
        connection.execute(insert(decisions), fresh)
    return results


def _outcomes(connection: Connection, rows: Sequence[OutcomeRow]) -> list[Result]:
    known = lock_decisions(connection, (row.decision_id for row in rows))
    values = [outcome_values(row) for row in rows if row.decision_id in known]
    found, fresh = _sort_out(connection, outcomes, values)
    verdicts = iter(found)
    results: list[Result] = [
        next(verdicts)
        if row.decision_id in known
        else BadRow(f"outcome of decision {row.decision_id}, which is not in the journal; append the decision first")
        for row in rows
    ]
    if fresh:
        ids = [row["decision_id"] for row in fresh]
        scored: set[str] = set()
        for chunk in chunks(ids):
            query = select(signals.c.decision_id).where(
                signals.c.decision_id.in_(chunk), signals.c.kind == SignalKind.QUALITY.value
            )
            scored.update(connection.scalars(query))
        connection.execute(insert(outcomes), fresh)
        connection.execute(
            insert(open_joins),
            [
                {
                    "decision_id": row["decision_id"],
                    "source": "",
                    "ready": row["status"] != "served" or row["decision_id"] in scored,
                    "since_s": row["completed_at_s"],
                }
                for row in fresh
            ],
        )
    return results


def _signals(connection: Connection, rows: Sequence[SignalRow]) -> list[Result]:
    ids = {row.decision_id for row in rows}
    known = lock_decisions(connection, ids)
    closed = _closed(connection, known)
    unserved = _unserved(connection, known)
    stored: dict[tuple[str, str, str], float] = {}
    for chunk in chunks(sorted(known)):
        for old in connection.execute(select(signals).where(signals.c.decision_id.in_(chunk))):
            stored[old.decision_id, old.kind, old.source] = old.value
    results: list[Result] = []
    fresh: list[dict[str, Any]] = []
    for row in rows:
        key = (row.decision_id, row.kind, row.source)
        if row.decision_id not in known:
            results.append(UnknownDecision(f"no decision {row.decision_id} is in the journal"))
        elif key in stored and stored[key] == row.value:
            results.append(Verdict.DUPLICATE)
        elif key in stored:
            results.append(
                Contradiction(
                    f"{row.source} gave decision {row.decision_id} the {row.kind} {stored[key]} before and now "
                    f"{row.value}; the first one stays"
                )
            )
        else:
            stored[key] = row.value
            fresh.append(
                {
                    "decision_id": row.decision_id,
                    "kind": row.kind,
                    "source": row.source,
                    "value": row.value,
                    "received_at_s": row.received_at_s,
                }
            )
            reason = closed.get(row.decision_id)
            if row.kind == SignalKind.RATING:
                is_learned = row.decision_id not in unserved and (reason is None or reason in LEARNED_REASONS)
            else:
                is_learned = reason is None
            results.append(Verdict.ACCEPTED if is_learned else Verdict.LATE)
    if fresh:
        connection.execute(insert(signals), fresh)
        scored = sorted({row["decision_id"] for row in fresh if row["kind"] == SignalKind.QUALITY} - set(closed))
        for chunk in chunks(scored):
            connection.execute(update(open_joins).where(open_joins.c.decision_id.in_(chunk)).values(ready=True))
        add_votes(
            connection,
            (
                (row["decision_id"], row["source"], row["received_at_s"])
                for row in fresh
                if row["kind"] == SignalKind.RATING and closed.get(row["decision_id"]) in LEARNED_REASONS
            ),
        )
    return results


def add_votes(connection: Connection, votes: Iterable[tuple[str, str, float]]) -> None:
    """Put votes (decision id, source, received at) on the work list, for joins of their own."""
    values = [
        {"decision_id": decision_id, "source": source, "ready": True, "since_s": received_at_s}
        for decision_id, source, received_at_s in votes
    ]
    if values:
        connection.execute(insert(open_joins), values)


def remove_open(connection: Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Take closed joins (decision id, source) off the work list."""
    statement = delete(open_joins).where(
        open_joins.c.decision_id == bindparam("id"), open_joins.c.source == bindparam("from_source")
    )
    connection.execute(statement, [{"id": decision_id, "from_source": source} for decision_id, source in keys])


def _closed(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The reasons of the decisions whose outcome's join is closed."""
    closed: dict[str, str] = {}
    for chunk in chunks(sorted(ids)):
        query = select(joins.c.decision_id, joins.c.reason).where(joins.c.decision_id.in_(chunk), joins.c.source == "")
        closed.update((row.decision_id, row.reason) for row in connection.execute(query))
    return closed


def _unserved(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the decisions that are known to have ended without an image."""
    unserved: set[str] = set()
    for chunk in chunks(sorted(ids)):
        query = select(outcomes.c.decision_id).where(outcomes.c.decision_id.in_(chunk), outcomes.c.status != "served")
        unserved.update(connection.scalars(query))
    return unserved


def _sort_out(
    connection: Connection, table: Table, values: Sequence[dict[str, Any]]
) -> tuple[list[Result], list[dict[str, Any]]]:
    """A verdict per row of a table with one row per decision, and the rows that are new."""
    stored = rows_of(connection, table, (row["decision_id"] for row in values))
    results: list[Result] = []
    fresh: list[dict[str, Any]] = []
    for row in values:
        old = stored.get(row["decision_id"])
        if old is None:
            stored[row["decision_id"]] = row
            fresh.append(row)
            results.append(Verdict.ACCEPTED)
        elif old == row:
            results.append(Verdict.DUPLICATE)
        else:
            changed = ", ".join(name for name in row if old[name] != row[name])
            results.append(
                RowConflict(
                    f"{table.name} has another row for decision {row['decision_id']} (it differs in {changed}); "
                    "the first one stays"
                )
            )
    return results, fresh
