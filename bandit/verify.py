"""Checks what the journal promises.

Positions without gaps; each outcome and each vote on a served decision joined once or waiting to be; a vote only after
its outcome, and one learned per decision; snapshots undamaged. Reads all joins once; rewrites nothing. An empty list of
findings means that every promise holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from .errors import BadRow
from .joins import join_from_row, joins_after, last_position
from .journal import Journal
from .rows import LEARNED_REASONS, VOTE_REASONS, JoinRow
from .signals import SignalKind
from .snapshots import inspect
from .tables import bad_records, decisions, joins, open_joins, outcomes, signals, snapshots

_BATCH = 1000
REASONS = ("complete", "window", "not_served", "unreadable")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was counted and what was found wrong."""

    counts: dict[str, int]
    findings: tuple[str, ...]


def verify(journal: Journal) -> Verification:
    """Read the whole journal. Raises JournalAway."""
    tables = (decisions, outcomes, signals, joins, open_joins, bad_records, snapshots)
    findings: list[str] = []
    with journal.read() as connection:
        counts = {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}
        ratings: dict[str, float | None] = {}
        findings += _joins(connection, ratings)
        findings += _lost_votes(connection, ratings)
        findings += _lost_outcomes(connection)
        findings += _snapshots(connection)
    return Verification(counts, tuple(findings))


def _joins(connection: Connection, ratings: dict[str, float | None]) -> list[str]:
    """Fills `ratings` with what was learned with each outcome that was learned."""
    findings: list[str] = []
    position, joined, rated = 0, set[tuple[str, str]](), set[str]()
    while rows := joins_after(connection, position, _BATCH):
        for row in rows:
            if row["position"] != position + 1:
                findings.append(f"joins: position {row['position']} follows {position}")
            position = row["position"]
            key = row["decision_id"], row["source"]
            if key in joined:
                findings.append(f"joins: decision {row['decision_id']} is joined again at position {position}")
            joined.add(key)
            try:
                join = join_from_row(row)
                fault = _fault(join)
                if join.record is not None and join.record.rating is not None:
                    if join.decision_id in rated:
                        findings.append(f"joins: position {position}: another vote on decision {join.decision_id}")
                    rated.add(join.decision_id)
                if join.record is not None and not join.source:
                    ratings[join.decision_id] = join.record.rating
                elif join.source and join.decision_id not in ratings:
                    fault = f"vote on decision {join.decision_id}, whose outcome was not learned before"
            except BadRow as error:
                fault = str(error)
            if fault is not None:
                findings.append(f"joins: position {position}: {fault}")
    return findings


def _fault(join: JoinRow) -> str | None:
    if join.reason not in (VOTE_REASONS if join.source else REASONS):
        return f"reason {join.reason!r} is unknown"
    if (join.record is not None) != (join.reason in LEARNED_REASONS):
        return f"reason {join.reason} {'with' if join.record else 'without'} a record"
    if join.record is not None and join.record.decision_id != join.decision_id:
        return f"holds the record of decision {join.record.decision_id}"
    if join.record is not None and join.record.amends != bool(join.source):
        return f"its record {'amends' if join.record.amends else 'does not amend'}, its source is {join.source!r}"
    return None


def _lost_outcomes(connection: Connection) -> list[str]:
    findings = []
    missing = (
        select(outcomes.c.decision_id)
        .outerjoin(joins, and_(joins.c.decision_id == outcomes.c.decision_id, joins.c.source == ""))
        .outerjoin(open_joins, and_(open_joins.c.decision_id == outcomes.c.decision_id, open_joins.c.source == ""))
        .where(joins.c.decision_id.is_(None), open_joins.c.decision_id.is_(None))
    )
    for decision_id in connection.scalars(missing):
        findings.append(f"outcomes: decision {decision_id} is neither joined nor waiting to be")
    same = and_(open_joins.c.decision_id == joins.c.decision_id, open_joins.c.source == joins.c.source)
    twice = select(joins.c.decision_id).join(open_joins, same)
    for decision_id in connection.scalars(twice):
        findings.append(f"open_joins: decision {decision_id} is joined and still waits to be")
    return findings


def _lost_votes(connection: Connection, ratings: dict[str, float | None]) -> list[str]:
    """What was rated must be what was learned with the outcome, and votes that are joined or wait to be."""
    joined = and_(joins.c.decision_id == signals.c.decision_id, joins.c.source == signals.c.source)
    waiting = and_(open_joins.c.decision_id == signals.c.decision_id, open_joins.c.source == signals.c.source)
    apart = (
        select(signals.c.decision_id, signals.c.value)
        .outerjoin(joins, joined)
        .outerjoin(open_joins, waiting)
        .where(signals.c.kind == SignalKind.RATING.value)
        .where(joins.c.decision_id.is_(None), open_joins.c.decision_id.is_(None))
    )
    with_outcome: dict[str, list[float]] = {}
    for row in connection.execute(apart):
        if row.decision_id in ratings:
            with_outcome.setdefault(row.decision_id, []).append(row.value)
    findings = []
    for decision_id, rating in ratings.items():
        found = with_outcome.get(decision_id, [])
        if found != ([] if rating is None else [rating]):
            findings.append(f"signals: decision {decision_id} was learned with the rating {rating}, but has {found}")
    return findings


def _snapshots(connection: Connection) -> list[str]:
    findings = []
    last = last_position(connection)
    for version in connection.scalars(select(snapshots.c.version).order_by(snapshots.c.version)).all():
        row = connection.execute(select(snapshots).where(snapshots.c.version == version)).mappings().one()
        snapshot, fault = inspect(dict(row), None)
        if fault is None and snapshot.position > last:
            fault = f"its position {snapshot.position} is after the last join {last}"
        if fault is not None:
            findings.append(f"snapshots: version {version} of policy {row['policy']}: {fault}")
    return findings
