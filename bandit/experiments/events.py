"""Every change of every experiment as an event: appended, read in order, never changed. What they mean: `state.py`.

The order is `position`, over all experiments, so that of two writers at the same moment the second one collides and
loses cleanly, also where they change different experiments that want the same units. `at_s` only informs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from bandit.errors import ExperimentConflict
from bandit.tables import decisions, experiment_events

CREATED, STARTED, RAMPED, STOPPED = "created", "started", "ramped", "stopped"
VARIANT_STOPPED, PROMOTED, ROLLED_BACK = "variant_stopped", "promoted", "rolled_back"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `body` depends on the kind, see `ledger.py`, which writes them."""

    position: int  # over all experiments: 1, 2, 3, ...
    experiment_id: str
    seq: int  # within the experiment: 1, 2, 3, ...
    at_s: float  # Unix time by the clock of whoever wrote it
    kind: str
    actor: str
    body: Mapping[str, Any]


def read_events(connection: Connection, after: int = 0) -> tuple[Event, ...]:
    """All events after a position, in their order."""
    column = experiment_events.c.position
    rows = connection.execute(select(experiment_events).where(column > after).order_by(column))
    return tuple(Event(**row._mapping) for row in rows)


def newest_position(connection: Connection) -> int:
    """The newest event's position, 0 before the first: cheap to ask whether anything changed."""
    return connection.scalar(select(func.coalesce(func.max(experiment_events.c.position), 0))) or 0


def append_event(connection: Connection, event: Event) -> None:
    """Raises ExperimentConflict, which must end the transaction, if somebody else's event has this position or seq."""
    try:
        connection.execute(
            insert(experiment_events).values(
                position=event.position,
                experiment_id=event.experiment_id,
                seq=event.seq,
                at_s=event.at_s,
                kind=event.kind,
                actor=event.actor,
                body=dict(event.body),
            )
        )
    except IntegrityError as error:
        raise ExperimentConflict(
            f"while {event.actor} wrote '{event.kind}' for experiment {event.experiment_id}, another change of an "
            "experiment came first; nothing was stored: look at it and repeat"
        ) from error


def newest_decision_s(connection: Connection, columns: list[str]) -> float | None:
    """The latest time that a decision of these variants claims to be from; None where there are none.

    Written into an event, it tells decisions before it from those after it by the clocks of the gateways alone, which
    may differ from that of whoever writes the event, and may have run ahead and been set back.
    """
    newest = [
        connection.scalar(select(func.max(decisions.c.created_at_s)).where(decisions.c.variant == column))
        for column in columns
    ]
    return max((one for one in newest if one is not None), default=None)
