"""Leases with fencing tokens: at most one learner writes, even if a paused one wakes up and believes it still may.

The token grows at each take-over. A writer checks holder and token inside the very transaction in which it writes, so a
stale one is refused by the database, whatever the clocks of the machines say. The clock is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from .errors import LeaseLost
from .tables import leases


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write, until `expires_at_s` (Unix time) or until somebody takes it over after that."""

    name: str
    holder: str
    token: int
    expires_at_s: float


def acquire(connection: Connection, name: str, holder: str, *, now_s: float, duration_s: float) -> Lease | None:
    """Take the lease if it is free or has expired; None if somebody holds it.

    A holder's name is used by one process only: a restarted process waits for its predecessor's lease to expire.
    """
    row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    expires_at_s = now_s + duration_s
    if row is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(leases).values(name=name, holder=holder, token=1, expires_at_s=expires_at_s))
        except IntegrityError:
            return None  # somebody else was first
        return Lease(name, holder, 1, expires_at_s)
    if row.expires_at_s > now_s:
        return None
    taken = connection.execute(
        update(leases)
        .where(leases.c.name == name, leases.c.token == row.token, leases.c.expires_at_s == row.expires_at_s)
        .values(holder=holder, token=row.token + 1, expires_at_s=expires_at_s)
    )
    return Lease(name, holder, row.token + 1, expires_at_s) if taken.rowcount == 1 else None


def renew(connection: Connection, lease: Lease, *, now_s: float, duration_s: float) -> Lease:
    """The lease with a later end. An expired one that nobody took over is still ours. Raises LeaseLost."""
    expires_at_s = now_s + duration_s
    kept = connection.execute(update(leases).where(*_ours(lease)).values(expires_at_s=expires_at_s))
    if kept.rowcount != 1:
        raise _lost(connection, lease)
    return replace(lease, expires_at_s=expires_at_s)


def release(connection: Connection, lease: Lease) -> None:
    """Let the next one in at once. The row stays, so that tokens go on growing. No error if it was lost before."""
    connection.execute(update(leases).where(*_ours(lease)).values(expires_at_s=0.0))


def check(connection: Connection, lease: Lease) -> None:
    """Refuse the transaction unless the lease is ours; on PostgreSQL nobody can take it over before the commit.

    Raises LeaseLost, which rolls the transaction back.
    """
    if connection.execute(select(leases.c.token).where(*_ours(lease)).with_for_update()).one_or_none() is None:
        raise _lost(connection, lease)


def _ours(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.token == lease.token


def _lost(connection: Connection, lease: Lease) -> LeaseLost:
    row = connection.execute(select(leases).where(leases.c.name == lease.name)).one_or_none()
    now = "nobody" if row is None else f"{row.holder} with token {row.token}"
    return LeaseLost(f"{lease.holder} held lease {lease.name} with token {lease.token}; now it is {now}. Stop writing.")
