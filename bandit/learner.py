"""The learner: closes joins, folds them into policies, publishes snapshots. One of them at a time does, by lease.

Kill it anywhere: what it wrote is whole transactions, and its successor goes on from the newest good snapshot and the
joins after it, with the same bytes as a run that was never interrupted. Time is an argument; `learner_loop.py` has the
clock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import insert, select

from . import leases
from .errors import BadState, LeaseLost, SnapshotRefused
from .fold import Fold, MakePolicy, Refusal
from .joins import close_due, joins_after
from .journal import Journal
from .leases import Lease
from .snapshots import Snapshots
from .tables import bad_records

LEASE_NAME = "learner"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearnerSettings:
    """How long to wait, and how often to publish."""

    join_window_s: float = 60.0  # an outcome without a quality signal closes after this, with the default
    default_quality: float = 0.5
    vote_window_s: float = 86400.0  # a rating received later than this after the outcome is not learned
    lease_s: float = 10.0
    snapshot_every: int = 200  # joins
    snapshot_after_s: float = 5.0  # publish what is new after this, however little
    batch: int = 500  # joins closed per transaction, and read at a time
    step_joins: int = 2000  # at most so many are folded per step, so that the lease is renewed in time


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did. `leader` is False where somebody else holds the lease; then nothing was done."""

    leader: bool
    closed: int = 0  # joins closed
    learned: int = 0  # records learned, over all policies
    refused_records: int = 0  # records refused, over all policies
    published: Mapping[str, int] = field(default_factory=dict)  # policy -> version
    refused_snapshots: Mapping[str, str] = field(default_factory=dict)  # policy -> reason
    more: bool = False  # work is left: call step again without a pause
    positions: Mapping[str, int] = field(default_factory=dict)  # policy -> position of its fold


@dataclass(slots=True)
class _Course:
    """One policy's way: its fold, what of it is published, and when publishing was last tried."""

    fold: Fold
    published_position: int = 0
    tried_position: int = 0
    tried_at_s: float | None = None


class Learner:
    """One candidate for the lease. Not thread-safe: one thread calls `step` and `stop`."""

    def __init__(
        self,
        journal: Journal,
        policies: Mapping[str, MakePolicy],
        holder: str,
        *,
        features_schema: str,
        settings: LearnerSettings | None = None,
    ) -> None:
        """`policies`: snapshot name to a function that builds the policy with nothing learned.

        `holder` names this process and no other. Records with features of another schema are not learned.
        """
        self._journal = journal
        self._policies = dict(policies)
        self._holder = holder
        self._features_schema = features_schema
        self._settings = settings or LearnerSettings()
        self._snapshots = Snapshots(journal)
        self._lease: Lease | None = None
        self._courses: dict[str, _Course] | None = None

    def step(self, now_s: float) -> StepReport:
        """Take or renew the lease, close due joins, fold, publish. Raises JournalAway: call again later."""
        try:
            if not self._hold_lease(now_s):
                return StepReport(leader=False)
            assert self._lease is not None
            return self._work(self._lease, now_s)
        except LeaseLost as error:
            _log.warning("%s", error)
            self._lease = None
            return StepReport(leader=False)

    def stop(self, now_s: float) -> None:
        """Publish what is unpublished and give the lease back, so that a successor need not wait for its end."""
        if self._lease is None:
            return
        try:
            for name, course in (self._courses or {}).items():
                if course.fold.position > course.published_position:
                    self._publish(self._lease, name, course, now_s)
            with self._journal.write() as connection:
                leases.release(connection, self._lease)
        except (LeaseLost, SnapshotRefused) as error:
            _log.warning("%s", error)
        self._lease = None

    def _hold_lease(self, now_s: float) -> bool:
        duration_s = self._settings.lease_s
        if self._lease is None:
            with self._journal.write() as connection:
                self._lease = leases.acquire(connection, LEASE_NAME, self._holder, now_s=now_s, duration_s=duration_s)
            if self._lease is not None:
                _log.info("%s holds the lease with token %d", self._holder, self._lease.token)
        elif now_s >= self._lease.expires_at_s - duration_s * 2 / 3:  # not at each step: renewing is a disk write
            with self._journal.write() as connection:
                self._lease = leases.renew(connection, self._lease, now_s=now_s, duration_s=duration_s)
        return self._lease is not None

    def _work(self, lease: Lease, now_s: float) -> StepReport:
        if self._courses is None:
            self._courses = {name: self._course(name) for name in self._policies}
        closed, more = self._close_joins(lease, now_s)
        learned, refused, behind = self._fold_joins(lease, self._courses)
        published: dict[str, int] = {}
        refused_snapshots: dict[str, str] = {}
        for name, course in self._courses.items():
            if self._is_due(course, now_s):
                try:
                    published[name] = self._publish(lease, name, course, now_s)
                except SnapshotRefused as error:
                    _log.error("%s", error)
                    refused_snapshots[name] = str(error)
        return StepReport(
            leader=True,
            closed=closed,
            learned=learned,
            refused_records=refused,
            published=published,
            refused_snapshots=refused_snapshots,
            more=more or behind,
            positions={name: course.fold.position for name, course in self._courses.items()},
        )

    def _course(self, name: str) -> _Course:
        """From the newest snapshot that the policy takes, or from the very first join."""
        fold = Fold(self._policies[name], self._features_schema)
        for snapshot in self._snapshots.good(name, features_schema=self._features_schema):
            try:
                fold.restore(snapshot.payload, snapshot.position)
            except BadState as error:
                _log.warning("snapshot %d of policy %s cannot be used: %s", snapshot.version, name, error)
                continue
            return _Course(fold, published_position=snapshot.position, tried_position=snapshot.position)
        return _Course(fold)

    def _close_joins(self, lease: Lease, now_s: float) -> tuple[int, bool]:
        settings, closed = self._settings, 0
        while closed < settings.step_joins:
            with self._journal.write() as connection:
                leases.check(connection, lease)
                count = close_due(
                    connection,
                    now_s=now_s,
                    window_s=settings.join_window_s,
                    vote_window_s=settings.vote_window_s,
                    default_quality=settings.default_quality,
                    limit=settings.batch,
                )
            closed += count
            if count < settings.batch:
                return closed, False
        return closed, True

    def _fold_joins(self, lease: Lease, courses: Mapping[str, _Course]) -> tuple[int, int, bool]:
        learned = sum(course.fold.learned for course in courses.values())
        refusals: list[tuple[str, Refusal]] = []
        read, behind = 0, True
        while behind and read < self._settings.step_joins:
            position = min(course.fold.position for course in courses.values())
            with self._journal.read() as connection:
                rows = joins_after(connection, position, self._settings.batch)
            for name, course in courses.items():
                refusals += [(name, refusal) for refusal in course.fold.learn(rows)]
            read += len(rows)
            behind = len(rows) == self._settings.batch
        self._record(lease, refusals)
        learned = sum(course.fold.learned for course in courses.values()) - learned
        return learned, len(refusals), behind

    def _record(self, lease: Lease, refusals: list[tuple[str, Refusal]]) -> None:
        """Keep what was refused. A fold that starts again from a snapshot refuses it again: it is kept once."""
        if not refusals:
            return
        with self._journal.write() as connection:
            leases.check(connection, lease)
            first = min(refusal.position for _, refusal in refusals)
            query = select(bad_records.c.policy, bad_records.c.position).where(bad_records.c.position >= first)
            known = {(row.policy, row.position) for row in connection.execute(query)}
            fresh = [
                {
                    "policy": name,
                    "position": refusal.position,
                    "decision_id": refusal.decision_id,
                    "reason": refusal.reason,
                }
                for name, refusal in refusals
                if (name, refusal.position) not in known
            ]
            if fresh:
                connection.execute(insert(bad_records), fresh)

    def _is_due(self, course: _Course, now_s: float) -> bool:
        if course.fold.position == course.published_position:
            return False
        if course.tried_at_s is None:
            course.tried_at_s = now_s  # counted from the first news: one record alone publishes nothing at once
        # Since the last try, not the last success: a state that was refused is not tried again at each step.
        fresh = course.fold.position - course.tried_position
        waited_s = now_s - course.tried_at_s
        return fresh >= self._settings.snapshot_every or waited_s >= self._settings.snapshot_after_s

    def _publish(self, lease: Lease, name: str, course: _Course, now_s: float) -> int:
        course.tried_position, course.tried_at_s = course.fold.position, now_s
        try:
            payload = course.fold.policy.state()
        except BadState as error:
            raise SnapshotRefused(f"policy {name} at position {course.fold.position}: {error}") from error
        snapshot = self._snapshots.publish(
            lease,
            policy=name,
            position=course.fold.position,
            features_schema=self._features_schema,
            payload=payload,
            created_at_s=now_s,
            check=course.fold.check,
        )
        course.published_position = snapshot.position
        return snapshot.version
