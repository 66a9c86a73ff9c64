"""The journal: every decision, what was served, every signal. Acknowledged rows are durable, and nothing counts twice.

Here: opening, appending and reading. The learner's side is in `joins.py`, `leases.py` and `snapshots.py`, the
background writer with group commit in `journal_writer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from . import appends
from .appends import Result
from .codec import context_from_json, decision_from_json
from .database import Database, is_away, open_database
from .errors import BadRow, BanditError, JournalAway
from .joins import join_from_row
from .rows import Attempt, DecisionRow, OutcomeRow, Row, SignalRow, Story, Verdict, checked
from .tables import decisions, joins, leases, open_joins, outcomes, signals


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the journal answers. `detail` is None if it does, else what the database said."""

    reachable: bool
    backend: str  # "sqlite" | "postgresql"
    detail: str | None = None


class Journal:
    """One open journal, to be used from any thread. Each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, busy_timeout_s: float = 5.0) -> Journal:
        """Open the journal at a URL, creating the tables that are missing.

        `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql+psycopg://user:password@host/name`.
        `busy_timeout_s` is how long a call waits for SQLite's write lock. Raises BadJournalUrl or JournalAway.
        """
        return cls(open_database(url, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        """Give the connections back. Calls after this open new ones."""
        self._database.engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction, durable when the block is left. For this package's own modules."""
        with self._database.write() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view. For this package's own modules."""
        with self._database.read() as connection:
            yield connection

    def append_decision(self, row: DecisionRow) -> Verdict:
        """Accepted or duplicate. Raises BadRow, RowConflict (same id, other content) or JournalAway."""
        return self._append_one(row)

    def append_outcome(self, row: OutcomeRow) -> Verdict:
        """Accepted or duplicate. Raises BadRow (also if the decision is unknown), RowConflict or JournalAway."""
        return self._append_one(row)

    def append_signal(self, row: SignalRow) -> Verdict:
        """Accepted, duplicate or late. Raises a SignalRefused or JournalAway."""
        return self._append_one(row)

    def append(self, rows: Sequence[Row]) -> list[Result]:
        """Rows of any kinds in one transaction; per row its verdict, or the error for which it alone was refused.

        Raises only JournalAway, and then sending the same rows again is safe.
        """
        results: list[Result | None] = []
        good: list[Row] = []
        for row in rows:
            try:
                good.append(checked(row))
                results.append(None)
            except BanditError as error:
                results.append(error)
        stored = iter(self._append_checked(good))
        return [next(stored) if result is None else result for result in results]

    def read_decision(self, decision_id: str) -> Story | None:
        """All that is known of a decision, or None if there is no such id."""
        with self.read() as connection:
            decision = _one(connection, decisions, decision_id)
            if decision is None:
                return None
            outcome = _one(connection, outcomes, decision_id)
            closed = connection.execute(
                select(joins).where(joins.c.decision_id == decision_id).order_by(joins.c.position)
            ).mappings()
            joined = [join_from_row(dict(row)) for row in closed]
            waiting = connection.scalars(
                select(open_joins.c.source)
                .where(open_joins.c.decision_id == decision_id, open_joins.c.source != "")
                .order_by(open_joins.c.source)
            ).all()
            arrivals = connection.execute(
                select(signals)
                .where(signals.c.decision_id == decision_id)
                .order_by(signals.c.received_at_s, signals.c.kind, signals.c.source)
            ).all()
        return Story(
            decision=decision_from_row(decision),
            outcome=None if outcome is None else outcome_from_row(outcome),
            signals=tuple(SignalRow(**row._mapping) for row in arrivals),
            join=next((join for join in joined if not join.source), None),
            vote_joins=tuple(join for join in joined if join.source),
            waiting_votes=tuple(waiting),
        )

    def health(self) -> Health:
        """Whether the database answers a read now. Never raises for a database that is away."""
        backend = self._database.engine.dialect.name
        try:
            with self.read() as connection:
                connection.execute(select(leases.c.name).limit(1)).all()
        except JournalAway as error:
            return Health(reachable=False, backend=backend, detail=str(error))
        return Health(reachable=True, backend=backend)

    def _append_one(self, row: Row) -> Verdict:
        result = self.append([row])[0]
        if isinstance(result, BanditError):
            raise result
        return result

    def _append_checked(self, rows: Sequence[Row]) -> list[Result]:
        if not rows:
            return []
        try:
            with self.write() as connection:
                return appends.append(connection, rows)
        except (SQLAlchemyError, ValueError, TypeError, OverflowError):
            return self._append_apart(rows)

    def _append_apart(self, rows: Sequence[Row]) -> list[Result]:
        """Row by row, each behind a savepoint, after something in the group could not be stored."""
        results: list[Result] = [Verdict.ACCEPTED] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: _RANK[type(rows[place])])
        with self.write() as connection:
            for place in order:
                try:
                    with connection.begin_nested():
                        results[place] = appends.append(connection, [rows[place]])[0]
                except (SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
                    if is_away(error):
                        raise
                    reason = getattr(error, "orig", None) or error
                    decision_id = rows[place].decision_id
                    results[place] = BadRow(f"the database refused the row of decision {decision_id}: {reason}")
        return results


_RANK: dict[type, int] = {DecisionRow: 0, OutcomeRow: 1, SignalRow: 2}


def decision_from_row(row: dict[str, Any]) -> DecisionRow:
    """The inverse of `appends.decision_values`. Raises BadRow if the columns hold no decision."""
    return DecisionRow(
        context=context_from_json(row["features_schema"], row["features"], row["arms"], row["weights"]),
        decision=decision_from_json(row["arm"], row["propensity"], row["probabilities"], row["predictions"]),
        **{
            name: row[name]
            for name in (
                "decision_id",
                "created_at_s",
                "model_requested",
                "policy",
                "variant",
                "snapshot_version",
                "caller_hash",
                "prompt_hmac",
                "prompt",
                "images",
                "width_px",
                "height_px",
                "seed",
            )
        },
    )


def outcome_from_row(row: dict[str, Any]) -> OutcomeRow:
    """The inverse of `appends.outcome_values`."""
    return OutcomeRow(**{**row, "attempts": tuple(Attempt(**attempt) for attempt in row["attempts"])})


def _one(connection: Connection, table: Any, decision_id: str) -> dict[str, Any] | None:
    return appends.rows_of(connection, table, [decision_id]).get(decision_id)
