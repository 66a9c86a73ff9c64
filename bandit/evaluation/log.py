"""The journal as a story in time: what was decided, and what could be learned by then, one event after the other.

    Event("decide", record)   a request came: a target says how it would have drawn
    Event("learn", record)    an image was complete, or a vote was joined: a target that learns may learn it

A record is learned at the time at which its outcome was complete, a vote at the time at which its join was closed: so
nothing that a target has learned when it decides can depend on the draw that it is judged by, which is what makes
the estimates right. (In the order of positions it would: fast arms close their joins first.) At equal times decisions
come first, and where a clock jumped back, a record is still decided on before it is learned.

What was decided counts by the arm that was drawn, whatever came of it (intention to treat): a request that failed or
was refused is a round of quality 0 that cost nothing, one that another arm served after that is worth what the caller
got, and the time of all is what the caller waited. Else an arm would be judged by the requests that it survived.
Learned is what the learner learns: what was served, and what it took by itself.

Read in one pass by position, with few records in memory: those between the oldest open event and the newest one read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import and_, select

from bandit.context import Context, Decision, Record
from bandit.errors import CannotEvaluate
from bandit.journal import Journal
from bandit.tables import decisions, joins, outcomes

from .reader import Reader

_TOLERANCE = 1e-6  # of probabilities
_LAST_S = 1e11  # Unix time, some thousand years from now

# Why a round is of no use, in the words of the report.
CANCELLED = "the caller left before an answer"
UNREADABLE = "the record cannot be read"
NO_CHOICE = "only one arm was available (asked for by name, or the others were down)"
NO_QUALITY = "the quality was never measured"
NOT_EXPLORED = "the log could have drawn nothing else"
UNSOUND = "the logged probabilities are none"
NOT_UNDERSTOOD = "the target cannot decide on such a context"


@dataclass(frozen=True, slots=True)
class Event:
    """One step of the story."""

    kind: Literal["decide", "learn"]
    at_s: float  # Unix time
    record: Record  # of a decision: with the time waited, and quality 0 where nothing was served
    status: str = "served"


@dataclass(frozen=True, slots=True)
class _Entry:
    at_s: float
    learns: bool
    position: int
    wait_s: float = 0.0
    status: str = "served"

    def order(self) -> tuple[float, bool, int]:
        return self.at_s, self.learns, self.position


class Log:
    """What the journal holds of the requests of some time, and of what had been learned before.

    `since_s` and `until_s` bound when requests were decided, None: no bound; `history_s` is how far before `since_s`
    records are still learned, None: all. Raises CannotEvaluate if the times leave nothing, JournalAway.
    """

    def __init__(
        self,
        journal: Journal,
        since_s: float | None = None,
        until_s: float | None = None,
        history_s: float | None = None,
    ) -> None:
        _check_times(since_s, until_s, history_s)
        self._journal = journal
        self._entries: list[_Entry] = []
        self.excluded: Counter[str] = Counter()  # rounds that cannot be read; the others are the walker's to count
        self.decided = 0  # rounds, readable or not
        times = []
        for row in self._index(since_s, until_s, history_s):
            vote, within = bool(row.source), since_s is None or row.created_at_s >= since_s
            if within and not vote:
                self.decided += 1
                times.append(row.created_at_s)
                if row.reason == "unreadable":
                    self.excluded[UNREADABLE] += 1
                    continue
                self._entries.append(_Entry(row.created_at_s, False, row.position, row.wait_s, row.status))
            if row.reason in ("complete", "window", "vote"):
                known_at_s = max(row.created_at_s, row.completed_at_s, row.closed_at_s if vote else 0.0)
                self._entries.append(_Entry(known_at_s, True, row.position))
        if not self.decided:
            raise CannotEvaluate(_nothing(since_s, until_s))
        self.first_s, self.last_s = min(times), max(times)
        self._entries.sort(key=_Entry.order)
        while self._entries and self._entries[-1].learns:
            self._entries.pop()  # nothing is decided after it

    def __len__(self) -> int:
        """Events to come."""
        return len(self._entries)

    def events(self) -> Iterator[Event | None]:
        """The story, one event for each of `len(self)`; None for a record that cannot be read (counted once)."""
        open_events = Counter(entry.position for entry in self._entries)
        held: dict[int, Record | None] = {}
        reader = Reader(self._journal, min(open_events, default=1) - 1)
        for entry in self._entries:
            while entry.position not in held:
                position, record = reader.read()
                if position in open_events:
                    held[position] = record
            record = held[entry.position]
            open_events[entry.position] -= 1
            if not open_events[entry.position]:
                del held[entry.position]
            if record is None:
                self.excluded[UNREADABLE] += not entry.learns
                yield None
            elif entry.learns:
                yield Event("learn", entry.at_s, record)
            else:
                yield Event("decide", entry.at_s, replace(record, latency_s=entry.wait_s), entry.status)

    def _index(self, since_s: float | None, until_s: float | None, history_s: float | None) -> Iterator[_IndexRow]:
        """Times and positions alone, which is a hundredth of what the records take."""
        created_at_s = decisions.c.created_at_s
        query = (
            select(
                joins.c.position,
                joins.c.source,
                joins.c.reason,
                joins.c.closed_at_s,
                created_at_s,
                outcomes.c.completed_at_s,
                outcomes.c.latency_s,
                outcomes.c.status,
            )
            .join(decisions, decisions.c.decision_id == joins.c.decision_id)
            .join(outcomes, outcomes.c.decision_id == joins.c.decision_id)
        )
        bounds = [] if until_s is None else [created_at_s < until_s]
        if since_s is not None and history_s is not None:
            bounds.append(created_at_s >= since_s - history_s)
        with self._journal.read() as connection:
            for row in connection.execute(query.where(and_(True, *bounds))):
                yield _IndexRow(*row)


@dataclass(frozen=True, slots=True)
class _IndexRow:
    position: int
    source: str
    reason: str
    closed_at_s: float
    created_at_s: float
    completed_at_s: float
    wait_s: float
    status: str


def unusable(record: Record, *, explored_only: bool = False) -> str | None:
    """Why a decided record tells nothing about other choices; None where it does.

    `explored_only` leaves out what was drawn without any other chance, such as the rounds of a variant that is fixed on
    an arm. That is sound where chance gave them to that variant; what the others had to do is then the whole story.
    """
    if sum(arm.available for arm in record.context.arms) < 2:
        return NO_CHOICE
    drawn = record.decision
    could_be = any(arm.name == drawn.arm and arm.available for arm in record.context.arms)
    if not (could_be and 0 < drawn.propensity <= 1 and is_sound(drawn, record.context)):
        return UNSOUND
    if explored_only and drawn.propensity >= 1 - 1e-9:
        return NOT_EXPLORED
    if record.quality_is_default:
        return NO_QUALITY
    return None


def is_sound(decision: Decision, context: Context) -> bool:
    """Whether the probabilities are a distribution over the context's arms that holds the propensity."""
    probabilities = decision.probabilities
    return (
        probabilities.keys() <= {arm.name for arm in context.arms}
        and all(0 <= probability <= 1 + _TOLERANCE for probability in probabilities.values())
        and abs(sum(probabilities.values()) - 1) <= _TOLERANCE
        and abs(probabilities.get(decision.arm, -1.0) - decision.propensity) <= _TOLERANCE
    )


def arms_of(journal: Journal) -> tuple[str, ...]:
    """The arms that the newest decision could choose from; none where the journal is empty."""
    with journal.read() as connection:
        query = select(decisions.c.arms).order_by(decisions.c.created_at_s.desc()).limit(1)
        arms = connection.scalar(query) or []
    return tuple(arm["name"] for arm in arms)


def live_policy(journal: Journal) -> str | None:
    """The name of the policy that decided last by itself, without standing in for another."""
    with journal.read() as connection:
        query = select(decisions.c.policy).where(decisions.c.policy.not_like("fallback:%"))
        return connection.scalar(query.order_by(decisions.c.created_at_s.desc()).limit(1))


def _check_times(since_s: float | None, until_s: float | None, history_s: float | None) -> None:
    for name, value in (("since", since_s), ("until", until_s)):
        if value is not None and not 0 <= value < _LAST_S:
            raise CannotEvaluate(f"{name} is {value!r}; allowed: Unix seconds, 0 to {_LAST_S:g}")
    if history_s is not None and not 0 <= history_s < _LAST_S:
        raise CannotEvaluate(f"history is {history_s!r}; allowed: seconds, 0 to {_LAST_S:g}")
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise CannotEvaluate(f"since ({_as_text(since_s)}) is not before until ({_as_text(until_s)}); turn them round")


def _nothing(since_s: float | None, until_s: float | None) -> str:
    if since_s is None and until_s is None:
        return "the journal holds no closed decision; is the URL right, and does a learner run?"
    since = "its start" if since_s is None else _as_text(since_s)
    until = "its end" if until_s is None else _as_text(until_s)
    return f"the journal holds no closed decision from {since} to {until}; take a longer time"


def _as_text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
