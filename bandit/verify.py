"""Checks what the journal promises: positions without gaps, each decision joined at most once, snapshots undamaged.

Reads all joins once; rewrites nothing. An empty list of findings means that every promise holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from .errors import BadRow
from .joins import join_from_row, joins_after, last_position
from .journal import Journal
from .rows import JoinRow
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
        findings += _joins(connection)
        findings += _lost_outcomes(connection)
        findings += _snapshots(connection)
    return Verification(counts, tuple(findings))


def _joins(connection: Connection) -> list[str]:
    findings: list[str] = []
    position, joined = 0, set()
    while rows := joins_after(connection, position, _BATCH):
        for row in rows:
            if row["position"] != position + 1:
                findings.append(f"joins: position {row['position']} follows {position}")
            position = row["position"]
            if row["decision_id"] in joined:
                findings.append(f"joins: decision {row['decision_id']} is joined again at position {position}")
            joined.add(row["decision_id"])
            try:
                fault = _fault(join_from_row(row))
            except BadRow as error:
                fault = str(error)
            if fault is not None:
                findings.append(f"joins: position {position}: {fault}")
    return findings


def _fault(join: JoinRow) -> str | None:
    if join.reason not in REASONS:
        return f"reason {join.reason!r} is unknown"
    if (join.record is not None) != (join.reason in ("complete", "window")):
        return f"reason {join.reason} {'with' if join.record else 'without'} a record"
    if join.record is not None and join.record.decision_id != join.decision_id:
        return f"holds the record of decision {join.record.decision_id}"
    return None


def _lost_outcomes(connection: Connection) -> list[str]:
    findings = []
    missing = (
        select(outcomes.c.decision_id)
        .outerjoin(joins, joins.c.decision_id == outcomes.c.decision_id)
        .outerjoin(open_joins, open_joins.c.decision_id == outcomes.c.decision_id)
        .where(joins.c.decision_id.is_(None), open_joins.c.decision_id.is_(None))
    )
    for decision_id in connection.scalars(missing):
        findings.append(f"outcomes: decision {decision_id} is neither joined nor waiting to be")
    twice = select(joins.c.decision_id).join(open_joins, open_joins.c.decision_id == joins.c.decision_id)
    for decision_id in connection.scalars(twice):
        findings.append(f"open_joins: decision {decision_id} is joined and still waits to be")
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
