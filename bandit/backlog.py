"""How far the learner is behind, read from the journal alone: a stopped learner, or one with nothing to do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from .journal import Journal
from .tables import joins, open_joins, snapshots


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a policy has not learned yet. Ages are None where there is nothing of the kind."""

    unfolded_joins: int  # closed, and in no snapshot
    waited_s: float | None  # how long the oldest outcome, vote or join that could be learned has waited
    snapshot_age_s: float | None

    def is_behind(self, limit_s: float) -> bool:
        """Whether something has waited longer than `limit_s` without a newer snapshot."""
        unpublished_s = float("inf") if self.snapshot_age_s is None else self.snapshot_age_s
        return self.waited_s is not None and min(self.waited_s, unpublished_s) > limit_s


def read_backlog(journal: Journal, policy: str, *, now_s: float, join_window_s: float) -> Backlog:
    """The backlog of one policy. A few look-ups by index. Raises JournalAway."""
    since_s = func.min(open_joins.c.since_s)
    with journal.read() as connection:
        ready_since_s = connection.scalar(select(since_s).where(open_joins.c.ready))
        other_since_s = connection.scalar(select(since_s).where(~open_joins.c.ready))
        newest = connection.execute(
            select(snapshots.c.position, snapshots.c.created_at_s)
            .where(snapshots.c.policy == policy)
            .order_by(snapshots.c.version.desc())
            .limit(1)
        ).one_or_none()
        position = 0 if newest is None else newest.position
        last = connection.scalar(select(func.max(joins.c.position))) or 0
        closed_at_s = connection.scalar(select(joins.c.closed_at_s).where(joins.c.position == position + 1))
    due_s = [
        ready_since_s,
        None if other_since_s is None else other_since_s + join_window_s,
        closed_at_s,
    ]
    first_s = min((moment_s for moment_s in due_s if moment_s is not None), default=None)
    return Backlog(
        unfolded_joins=max(0, last - position),
        waited_s=None if first_s is None or first_s > now_s else now_s - first_s,
        snapshot_age_s=None if newest is None else max(0.0, now_s - newest.created_at_s),
    )
