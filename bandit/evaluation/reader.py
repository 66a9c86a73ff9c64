"""Joins one after the other, each as the record of a round; also of what was not served, whose join holds none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from bandit.appends import rows_of
from bandit.codec import context_from_json, decision_from_json
from bandit.context import Record
from bandit.errors import BadRow
from bandit.joins import join_from_row, joins_after
from bandit.journal import Journal
from bandit.tables import decisions, outcomes

_BATCH = 500


class Reader:
    """From after a position on; the caller knows how many there are."""

    def __init__(self, journal: Journal, position: int) -> None:
        self._journal = journal
        self._position = position
        self._rows: Iterator[tuple[dict[str, Any], Record | None]] = iter(())

    def read(self) -> tuple[int, Record | None]:
        """The next position, and its record; None where it cannot be read or tells of no round."""
        one = next(self._rows, None)
        if one is None:
            with self._journal.read() as connection:
                self._rows = iter(self._batch(connection))
            one = next(self._rows)
        row, record = one
        self._position = int(str(row["position"]))
        return self._position, record

    def _batch(self, connection: Connection) -> list[tuple[dict[str, Any], Record | None]]:
        rows = joins_after(connection, self._position, _BATCH)
        ids = [row["decision_id"] for row in rows if row["reason"] == "not_served"]
        decided, told = rows_of(connection, decisions, ids), rows_of(connection, outcomes, ids)
        batch = []
        for row in rows:
            try:
                if row["decision_id"] in told and row["reason"] == "not_served":
                    record: Record | None = _unserved(decided[row["decision_id"]], told[row["decision_id"]])
                else:
                    record = join_from_row(row).record
            except BadRow:
                record = None
            batch.append((row, record))
        return batch


def _unserved(decision: dict[str, Any], outcome: dict[str, Any]) -> Record:
    """A round of the drawn arm with quality 0 at no cost; unknown where the caller left. Raises BadRow."""
    return Record(
        decision_id=decision["decision_id"],
        context=context_from_json(
            decision["features_schema"], decision["features"], decision["arms"], decision["weights"]
        ),
        decision=decision_from_json(
            decision["arm"], decision["propensity"], decision["probabilities"], decision["predictions"]
        ),
        served_arm=decision["arm"],
        latency_s=outcome["latency_s"],
        cost_usd=0.0,
        quality=0.0,
        quality_is_default=outcome["status"] == "cancelled",
        images=decision["images"],
        variant=decision["variant"],
        decided_at_s=decision["created_at_s"],
    )
