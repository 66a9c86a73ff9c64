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
from .course import CoursePlan
from .errors import BadState, LeaseLost, SnapshotRefused, UnknownPolicy
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
    catch_up_joins: int = 500  # per step, by all policies that are behind the foremost one, which goes first


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

    plan: MakePolicy | CoursePlan
    fold: Fold
    published_position: int = 0
    tried_position: int = 0
    tried_at_s: float | None = None


class Learner:
    """One candidate for the lease. Not thread-safe: one thread calls `step` and `stop`."""

    def __init__(
        self,
        journal: Journal,
        policies: Mapping[str, MakePolicy | CoursePlan],
        holder: str,
        *,
        features_schema: str,
        settings: LearnerSettings | None = None,
    ) -> None:
        """`policies`: snapshot name to a function that builds the policy with nothing learned, or to a course's plan.

        `holder` names this process and no other. Records with features of another schema are not learned;
        `features_schema` is that of policies that are given as functions, a plan has its own.
        """
        self._journal = journal
        self._policies = dict(policies)
        self._holder = holder
        self._features_schema = features_schema
        self._settings = settings or LearnerSettings()
        self._snapshots = Snapshots(journal)
        self._lease: Lease | None = None
        self._courses: dict[str, _Course] = {}

    def set_policies(self, policies: Mapping[str, MakePolicy | CoursePlan]) -> None:
        """Fold these from the next step on, in the same thread as `step`.

        One that is new starts from its newest good snapshot, or from the first join; one that is gone publishes what
        it has and is forgotten, and its snapshots stay. One that is equal to what it was goes on as it is.
        """
        self._policies = dict(policies)

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
            for name, course in self._courses.items():
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
        self._change_courses(lease, now_s)
        closed, more = self._close_joins(lease, now_s)
        learned, refused, behind = self._fold_joins(lease, self._courses)
        published: dict[str, int] = {}
        refused_snapshots: dict[str, str] = {}
        foremost = max((course.fold.position for course in self._courses.values()), default=0)
        for name, course in self._courses.items():
            if self._is_due(course, now_s, catching_up=course.fold.position < foremost):
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

    def _change_courses(self, lease: Lease, now_s: float) -> None:
        """Drop the courses that are not wanted any more, or not like that, and begin those that are new."""
        for name, course in list(self._courses.items()):
            if name in self._policies and self._policies[name] == course.plan:
                continue
            if course.fold.position > course.published_position:
                try:
                    self._publish(lease, name, course, now_s)
                except SnapshotRefused as error:
                    _log.error("%s", error)
            del self._courses[name]
        for name, plan in list(self._policies.items()):
            if name in self._courses:
                continue
            try:
                self._courses[name] = self._course(name, plan)
            except UnknownPolicy as error:
                if not isinstance(plan, CoursePlan):
                    raise
                # An experiment of another version, say: the others go on. It is tried again when it is told again.
                _log.error("course %s cannot be folded: %s", name, error)
                del self._policies[name]

    def _course(self, name: str, plan: MakePolicy | CoursePlan) -> _Course:
        """From the newest snapshot that the policy takes, or from the very first join."""
        if isinstance(plan, CoursePlan):
            fold = Fold(plan, plan.features_schema, plan.learns)
        else:
            fold = Fold(plan, self._features_schema)
        for snapshot in self._snapshots.good(name, features_schema=fold.features_schema):
            try:
                fold.restore(snapshot.payload, snapshot.position)
            except BadState as error:
                _log.warning("snapshot %d of policy %s cannot be used: %s", snapshot.version, name, error)
                continue
            return _Course(plan, fold, published_position=snapshot.position, tried_position=snapshot.position)
        return _Course(plan, fold)

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
        """The foremost courses first, so that one which is far behind holds nobody up; it catches up step by step."""
        before = sum(course.fold.learned for course in courses.values())
        groups: dict[int, dict[str, _Course]] = {}
        for name, course in courses.items():
            groups.setdefault(course.fold.position, {})[name] = course
        refusals: list[tuple[str, Refusal]] = []
        behind = False
        for place, position in enumerate(sorted(groups, reverse=True)):
            share = max(1, self._settings.catch_up_joins // max(len(groups) - 1, 1))
            most = self._settings.step_joins if place == 0 else share
            behind |= self._fold_group(groups[position], most, refusals)
        self._record(lease, refusals)
        learned = sum(course.fold.learned for course in courses.values()) - before
        return learned, len(refusals), behind

    def _fold_group(self, group: Mapping[str, _Course], most: int, refusals: list[tuple[str, Refusal]]) -> bool:
        """Up to `most` joins for courses that stand at the same position; whether there may be more."""
        read = 0
        while read < most:
            position = next(iter(group.values())).fold.position
            limit = min(self._settings.batch, most - read)
            with self._journal.read() as connection:
                rows = joins_after(connection, position, limit)
            for name, course in group.items():
                refusals += [(name, refusal) for refusal in course.fold.learn(rows)]
            read += len(rows)
            if len(rows) < limit:
                return False
        return True

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

    def _is_due(self, course: _Course, now_s: float, *, catching_up: bool) -> bool:
        if course.fold.position == course.published_position:
            return False
        if course.tried_at_s is None:
            course.tried_at_s = now_s  # counted from the first news: one record alone publishes nothing at once
        # Since the last try, not the last success: a state that was refused is not tried again at each step.
        fresh = course.fold.position - course.tried_position
        waited_s = now_s - course.tried_at_s
        # While it catches up, thousands of joins a second pass: publishing by their number would be all it does.
        enough = fresh >= self._settings.snapshot_every and not catching_up
        return enough or waited_s >= self._settings.snapshot_after_s

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
            features_schema=course.fold.features_schema,
            payload=payload,
            created_at_s=now_s,
            check=course.fold.check,
        )
        course.published_position = snapshot.position
        return snapshot.version
