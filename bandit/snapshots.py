"""Snapshots: what a policy has learned up to a position of the fold, published only when it was checked.

The hash covers the payload and all that says what it is (version, policy, position, token, features schema): VW loads
damaged bytes without a word, and a wrong position would make a learner count records twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from .errors import SnapshotRefused
from .journal import Journal
from .leases import Lease
from .leases import check as check_lease
from .tables import snapshots

KEPT = 5  # newest versions of each policy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy's state after all joins up to `position`, written by the holder of lease token `token`."""

    version: int
    policy: str
    position: int
    token: int
    features_schema: str
    payload: bytes
    created_at_s: float

    def sha256(self) -> str:
        """Hash over payload and envelope, in hex."""
        head = json.dumps([self.version, self.policy, self.position, self.token, self.features_schema])
        return hashlib.sha256(head.encode() + b"\n" + self.payload).hexdigest()


class Snapshots:
    """Publishes and finds snapshots. Bad ones are skipped, logged once and listed in `skipped` (version to reason)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.skipped: dict[int, str] = {}

    def publish(
        self,
        lease: Lease,
        *,
        policy: str,
        position: int,
        features_schema: str,
        payload: bytes,
        created_at_s: float,
        check: Callable[[bytes], None],
    ) -> Snapshot:
        """Store a state that passes `check` and forget all but the newest KEPT of the policy.

        Raises SnapshotRefused if `check` raises anything, LeaseLost if the lease is no longer ours, JournalAway.
        """
        try:
            check(payload)
        except Exception as error:
            raise SnapshotRefused(
                f"state of policy {policy} at position {position} failed its check and was not published: {error!r}"
            ) from error
        with self._journal.write() as connection:
            check_lease(connection, lease)
            newest = connection.scalar(select(func.coalesce(func.max(snapshots.c.version), 0))) or 0
            snapshot = Snapshot(newest + 1, policy, position, lease.token, features_schema, payload, created_at_s)
            connection.execute(
                insert(snapshots).values(
                    version=snapshot.version,
                    policy=policy,
                    position=position,
                    token=lease.token,
                    features_schema=features_schema,
                    sha256=snapshot.sha256(),
                    payload=payload,
                    created_at_s=created_at_s,
                )
            )
            versions = select(snapshots.c.version).where(snapshots.c.policy == policy)
            kept = list(connection.scalars(versions.order_by(snapshots.c.version.desc()).limit(KEPT)))
            connection.execute(delete(snapshots).where(snapshots.c.policy == policy, snapshots.c.version < kept[-1]))
        return snapshot

    def newest(
        self, policy: str, *, features_schema: str | None = None, after_version: int | None = None
    ) -> Snapshot | None:
        """The newest good snapshot, or None if there is none newer than `after_version`.

        With `features_schema`, those made for another schema are skipped. Cheap where there is nothing new.
        """
        return next(self.good(policy, features_schema=features_schema, after_version=after_version), None)

    def good(
        self, policy: str, *, features_schema: str | None = None, after_version: int | None = None
    ) -> Iterator[Snapshot]:
        """All good snapshots, newest first, for a caller who cannot use the newest."""
        column = snapshots.c.version
        query = select(column).where(snapshots.c.policy == policy, column > (after_version or 0))
        with self._journal.read() as connection:
            versions = list(connection.scalars(query.order_by(column.desc())))
        for version in versions:
            with self._journal.read() as connection:
                row = _row(connection, version)
            if row is None:
                continue  # forgotten in between; a newer one has come
            snapshot, fault = inspect(row, features_schema)
            if fault is None:
                yield snapshot
            elif self.skipped.get(version) != fault:
                self.skipped[version] = fault
                _log.warning("snapshot %d of policy %s skipped: %s", version, policy, fault)


def inspect(row: dict[str, Any], features_schema: str | None) -> tuple[Snapshot, str | None]:
    """A stored row as a snapshot, and what is wrong with it, if anything."""
    snapshot = Snapshot(
        version=row["version"],
        policy=row["policy"],
        position=row["position"],
        token=row["token"],
        features_schema=row["features_schema"],
        payload=bytes(row["payload"]),
        created_at_s=row["created_at_s"],
    )
    if snapshot.sha256() != row["sha256"]:
        return snapshot, "its SHA-256 does not match: the row was damaged or changed"
    if features_schema is not None and snapshot.features_schema != features_schema:
        return snapshot, f"it was made for features {snapshot.features_schema}, not {features_schema}"
    return snapshot, None


def _row(connection: Connection, version: int) -> dict[str, Any] | None:
    row = connection.execute(select(snapshots).where(snapshots.c.version == version)).mappings().one_or_none()
    return None if row is None else dict(row)
