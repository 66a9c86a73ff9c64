"""Ratings: one per decision is learned, once, and in a join of its own if it comes after the outcome's was closed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import delete, event, insert, select, update

from bandit.context import Context
from bandit.errors import Contradiction
from bandit.fake_traffic import FakeRequest, fake_request
from bandit.fold import Fold
from bandit.joins import close_due, joins_after
from bandit.journal import Journal
from bandit.learner import Learner, LearnerSettings
from bandit.policies import build
from bandit.rows import JoinRow, SignalRow, Story, Verdict
from bandit.snapshots import Snapshots
from bandit.tables import joins, open_joins, signals
from bandit.verify import verify
from bandit.votes import VoteState, is_learned, vote_source, votes

START_S = 1_700_000_000.0
POLICIES = ("factored", "vowpal")
WINDOW_S = 3600.0
SETTINGS = LearnerSettings(join_window_s=60, vote_window_s=WINDOW_S, snapshot_every=10, snapshot_after_s=5, batch=7)


def request_with(status: str) -> FakeRequest:
    made = (fake_request(number, now_s=START_S) for number in range(1000))
    return next(r for r in made if r.outcome.status == status and r.quality and not r.rating)


CALLER = "c0ffee" * 10
_FOUND = request_with("served")
SERVED = replace(_FOUND, decision=replace(_FOUND.decision, caller_hash=None))  # anybody's vote may count
CALLERS = replace(_FOUND, decision=replace(_FOUND.decision, caller_hash=CALLER))
ID = SERVED.decision.decision_id


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def vote(value: float, source: str = "user", after_s: float = 10.0, request: FakeRequest = SERVED) -> SignalRow:
    received_at_s = request.outcome.completed_at_s + after_s
    return SignalRow(request.decision.decision_id, "rating", source, value, received_at_s)


def learner(journal: Journal, holder: str = "a") -> Learner:
    policies = {name: (lambda name=name: build(name)) for name in POLICIES}
    return Learner(journal, policies, holder, features_schema="words-1", settings=SETTINGS)


def close(journal: Journal, request: FakeRequest = SERVED) -> None:
    assert request.quality is not None
    journal.append([request.decision, request.outcome, request.quality])
    assert close_rest(journal) == 1


def close_rest(journal: Journal, limit: int = 99) -> int:
    with journal.write() as connection:
        return close_due(
            connection, now_s=START_S + 9, window_s=60, vote_window_s=WINDOW_S, default_quality=0.5, limit=limit
        )


def story_of(journal: Journal, request: FakeRequest = SERVED) -> Story:
    story = journal.read_decision(request.decision.decision_id)
    assert story is not None
    return story


def fates(journal: Journal) -> list[tuple[str, VoteState, str | None]]:
    return [(one.signal.source, one.state, one.reason) for one in votes(story_of(journal))]


def all_joins(journal: Journal) -> list[tuple[int, str, str, str]]:
    with journal.read() as connection:
        rows = joins_after(connection, 0, 1000)
    return [(row["position"], row["decision_id"], row["source"], row["reason"]) for row in rows]


def test_vote_after_the_close_is_folded_exactly_once(journal: Journal) -> None:
    close(journal)
    assert journal.append_signal(vote(1.0)) is Verdict.ACCEPTED
    assert fates(journal) == [("user", VoteState.WAITING, None)]
    assert close_rest(journal) == 1
    assert journal.append_signal(vote(1.0)) is Verdict.DUPLICATE
    assert journal.append_signal(replace(vote(1.0), received_at_s=START_S + 99)) is Verdict.DUPLICATE
    assert close_rest(journal) == 0
    assert all_joins(journal) == [(1, ID, "", "complete"), (2, ID, "user", "vote")]
    assert fates(journal) == [("user", VoteState.FOLDED, "vote")]
    assert verify(journal).findings == ()


def test_record_of_a_vote_is_the_decisions_with_the_rating(journal: Journal) -> None:
    close(journal)
    journal.append_signal(vote(0.25))
    close_rest(journal)
    story = story_of(journal)
    (own,) = story.vote_joins
    assert story.join is not None
    assert story.join.record is not None
    assert (story.join.record.rating, story.join.record.amends) == (None, False)
    assert own.record == replace(story.join.record, rating=0.25, amends=True)


def test_vote_on_a_decision_that_was_never_scored_keeps_the_default_quality(journal: Journal) -> None:
    journal.append([SERVED.decision, SERVED.outcome])
    with journal.write() as connection:
        close_due(connection, now_s=START_S + 99, window_s=60, vote_window_s=WINDOW_S, default_quality=0.3, limit=9)
    journal.append_signal(vote(1.0))
    close_rest(journal)
    (own,) = story_of(journal).vote_joins
    assert own.record is not None
    assert (own.record.quality, own.record.quality_is_default, own.record.rating) == (0.3, True, 1.0)


def test_contradiction_after_the_close_is_refused_and_the_first_vote_is_learned(journal: Journal) -> None:
    close(journal)
    journal.append_signal(vote(1.0))
    with pytest.raises(Contradiction, match="first one stays"):
        journal.append_signal(vote(0.0))
    close_rest(journal)
    with pytest.raises(Contradiction, match="first one stays"):
        journal.append_signal(vote(0.0))
    assert close_rest(journal) == 0
    (own,) = story_of(journal).vote_joins
    assert own.record is not None
    assert own.record.rating == 1.0


@pytest.mark.parametrize("limit", [1, 99])
def test_of_votes_of_many_users_only_the_first_is_learned(journal: Journal, limit: int) -> None:
    """Anybody can invent users; `limit` has them closed together or one by one."""
    close(journal)
    rows = [vote(float(number % 2), f"user:{number}", after_s=20 - number) for number in range(9)]
    assert journal.append(rows) == [Verdict.ACCEPTED] * 9
    assert [source for source in (row.source for row in rows) if is_learned(story_of(journal), source, WINDOW_S)] == [
        "user:8"
    ]
    while close_rest(journal, limit=limit):
        pass
    assert [(position, reason) for position, _, _, reason in all_joins(journal)] == [
        (1, "complete"),
        (2, "vote"),
        *((position, "already_rated") for position in range(3, 11)),
    ]
    assert fates(journal)[0] == ("user:8", VoteState.FOLDED, "vote")
    assert {(state, reason) for _, state, reason in fates(journal)[1:]} == {(VoteState.NOT_LEARNED, "already_rated")}
    assert verify(journal).findings == ()
    journal.append_signal(vote(1.0, "user:late-comer", after_s=30))
    assert not is_learned(story_of(journal), "user:late-comer", WINDOW_S)
    assert close_rest(journal) == 1
    assert all_joins(journal)[-1][3] == "already_rated"


@pytest.mark.parametrize("before_the_close", [True, False])
def test_only_the_caller_votes_on_a_decision_with_a_caller(journal: Journal, before_the_close: bool) -> None:
    own = vote_source(CALLER)
    rows = [vote(0.0, "user", 1), vote(0.0, vote_source("beef" * 16), 2), vote(1.0, own, 3)]
    assert CALLERS.quality is not None
    if not before_the_close:
        close(journal, CALLERS)
        journal.append(rows)
    else:
        journal.append([CALLERS.decision, CALLERS.outcome, *rows])
    for when in ("waiting", "closed"):
        learned = [row.source for row in rows if is_learned(story_of(journal), row.source, WINDOW_S)]
        assert learned == [own], when
        journal.append_signal(CALLERS.quality)
        while close_rest(journal):
            pass
    assert fates(journal) == [
        ("user", VoteState.NOT_LEARNED, "other_caller"),
        (rows[1].source, VoteState.NOT_LEARNED, "other_caller"),
        (own, VoteState.FOLDED, "complete" if before_the_close else "vote"),
    ]
    joined = [join.record for join in (story_of(journal).join, *story_of(journal).vote_joins) if join and join.record]
    assert [record.rating for record in joined if record.rating is not None] == [1.0]
    assert verify(journal).findings == ()


def test_vote_before_the_close_is_part_of_it_and_further_ones_are_not_learned(journal: Journal) -> None:
    journal.append([SERVED.decision, SERVED.outcome])
    assert journal.append([vote(0.0, "user:b", 2), vote(1.0, "user:a", 1)]) == [Verdict.ACCEPTED] * 2
    assert [state for _, state, _ in fates(journal)] == [VoteState.WAITING] * 2
    assert SERVED.quality is not None
    journal.append_signal(SERVED.quality)
    assert close_rest(journal) == 1
    assert fates(journal) == [("user:a", VoteState.FOLDED, "complete"), ("user:b", VoteState.WAITING, None)]
    assert verify(journal).findings == ()
    assert close_rest(journal) == 1
    assert fates(journal) == [
        ("user:a", VoteState.FOLDED, "complete"),
        ("user:b", VoteState.NOT_LEARNED, "already_rated"),
    ]
    assert verify(journal).findings == ()


@pytest.mark.parametrize(("after_s", "learned"), [(WINDOW_S - 0.5, True), (WINDOW_S + 0.5, False)])
@pytest.mark.parametrize("before_the_close", [True, False])
def test_vote_after_the_window_is_not_learned(
    journal: Journal, after_s: float, learned: bool, before_the_close: bool
) -> None:
    """The vote's own time decides: a learner that was away for a day folds the same as one that was there."""
    if before_the_close:
        journal.append([SERVED.decision, SERVED.outcome, vote(1.0, after_s=after_s), SERVED.quality])  # type: ignore[list-item]
        assert close_rest(journal) == 1
    else:
        close(journal)
        assert journal.append_signal(vote(1.0, after_s=after_s)) is Verdict.ACCEPTED
    assert is_learned(story_of(journal), "user", WINDOW_S) is learned
    close_rest(journal)
    story = story_of(journal)
    assert is_learned(story, "user", WINDOW_S) is learned
    assert story.join is not None
    records = [join.record for join in (story.join, *story.vote_joins) if join.record]
    assert [record.rating for record in records if record.rating is not None] == ([1.0] if learned else [])
    if not learned:
        assert fates(journal) == [("user", VoteState.NOT_LEARNED, "late")]
    assert verify(journal).findings == ()


@pytest.mark.parametrize("closed", [True, False])
def test_vote_on_what_was_not_served_is_kept_and_not_learned(journal: Journal, closed: bool) -> None:
    failed = request_with("failed")
    journal.append([failed.decision, failed.outcome])
    if closed:
        assert close_rest(journal) == 1
    assert journal.append_signal(vote(1.0, request=failed)) is Verdict.LATE
    assert not is_learned(story_of(journal, failed), "user", WINDOW_S)
    assert close_rest(journal) == (0 if closed else 1)
    story = story_of(journal, failed)
    assert [one.state for one in votes(story)] == [VoteState.NOT_LEARNED]
    assert (story.vote_joins, story.waiting_votes) == ((), ())
    assert verify(journal).findings == ()


def test_quality_that_comes_with_a_vote_on_a_closed_decision_reopens_nothing(journal: Journal) -> None:
    close(journal)
    assert SERVED.quality is not None
    late = replace(SERVED.quality, source="other-scorer", value=0.123)
    assert journal.append([vote(1.0), late]) == [Verdict.ACCEPTED, Verdict.LATE]
    assert close_rest(journal) == 1
    (own,) = story_of(journal).vote_joins
    assert own.record is not None
    assert own.record.quality == SERVED.quality.value


def test_restart_between_close_and_vote_gives_the_bytes_of_an_uninterrupted_run(journal: Journal) -> None:
    now_s, waiting = START_S, list[SignalRow]()
    for start in range(0, 120, 20):
        for number in range(start, start + 20):
            request = fake_request(number, now_s=START_S)
            rows = [request.decision, request.outcome, request.rating, request.quality]
            journal.append([row for row in rows if row is not None])
            if request.late_rating is not None:
                waiting.append(request.late_rating)
        now_s += 200
        life = learner(journal, f"life-{start}")  # never gives its lease back, and loses what it did not publish
        while life.step(now_s).more:
            pass
        journal.append(waiting[: len(waiting) // 2])
        del waiting[: len(waiting) // 2]
        if start % 40:
            life.step(now_s + 1)
    last = learner(journal, "last")
    while last.step(now_s + 400).more:
        pass
    last.stop(now_s + 400)
    rows = all_joins(journal)
    assert [position for position, *_ in rows] == list(range(1, len(rows) + 1))
    assert len([row for row in rows if row[3] == "vote"]) >= 10
    for name in POLICIES:
        fold = Fold(lambda name=name: build(name), "words-1")
        with journal.read() as connection:
            assert fold.learn(joins_after(connection, 0, 1000)) == []
        newest = Snapshots(journal).newest(name)
        assert newest is not None
        assert (newest.position, newest.payload) == (len(rows), fold.policy.state())
    assert verify(journal).findings == ()


@pytest.mark.parametrize("name", POLICIES)
def test_predicted_quality_of_the_arm_moves_towards_the_vote(journal: Journal, name: str) -> None:
    """From the votes in the journal to the snapshot that a gateway takes."""
    predicted = []
    assert SERVED.quality is not None
    for step in range(2):
        for number in range(8):
            own = {"decision_id": f"{ID}-{number}"}
            rows = [replace(SERVED.decision, **own), replace(SERVED.outcome, **own), replace(SERVED.quality, **own)]
            journal.append(rows if step == 0 else [replace(vote(0.0), **own)])
        life = learner(journal, f"life-{step}")
        while life.step(START_S + 100 * step).more:
            pass
        life.stop(START_S + 100 * step)
        newest = Snapshots(journal).newest(name)
        assert newest is not None
        policy = build(name)
        policy.restore(newest.payload)
        context: Context = SERVED.decision.context
        assert SERVED.outcome.served_arm is not None
        predicted.append(policy.decide(context, Random(0)).predictions[SERVED.outcome.served_arm])
    before, after = predicted
    assert before.quality is not None
    assert after.quality is not None
    assert after.quality < before.quality - 0.05
    assert after.latency_s == before.latency_s


def test_finding_and_closing_votes_scans_no_history(journal: Journal) -> None:
    close(journal)
    journal.append_signal(vote(1.0))
    plans: list[str] = []

    def explain(connection, cursor, statement: str, parameters: object, context, executemany: bool) -> None:  # type: ignore[no-untyped-def]
        if statement.startswith(("SELECT", "DELETE")):
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters[0] if executemany else parameters)  # type: ignore[index]
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(journal._database.engine, "before_cursor_execute", explain)
    assert close_rest(journal) == 1
    journal.append_signal(vote(0.0, "user:b"))
    story_of(journal)
    event.remove(journal._database.engine, "before_cursor_execute", explain)
    assert any("open_joins" in plan for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


@pytest.mark.parametrize(
    "damage", ["vote lost", "vote never listed", "amends nothing", "rating changed", "second vote"]
)
def test_verify_finds_a_broken_promise(journal: Journal, damage: str) -> None:
    close(journal)
    journal.append_signal(vote(1.0))
    if damage != "vote never listed":
        close_rest(journal)
    assert verify(journal).findings == ()
    with journal.write() as connection:
        if damage == "vote lost":
            connection.execute(delete(joins).where(joins.c.source == "user"))
        elif damage == "vote never listed":
            connection.execute(delete(open_joins))
        elif damage == "amends nothing":
            connection.execute(update(joins).where(joins.c.position == 1).values(reason="not_served", record=None))
        elif damage == "second vote":
            first = connection.execute(select(joins).where(joins.c.source == "user")).mappings().one()
            connection.execute(insert(joins).values({**first, "position": 3, "source": "user:b"}))
        else:
            connection.execute(update(signals).where(signals.c.kind == "rating").values(source="somebody"))
    assert verify(journal).findings != ()


def test_state_of_a_vote_in_a_joined_story() -> None:
    """A story as it may be read while the outcome's join is closed and unreadable."""
    join = JoinRow(1, ID, START_S, "unreadable", None)
    story = Story(SERVED.decision, SERVED.outcome, (vote(1.0),), join)
    (one,) = votes(story)
    assert (one.state, one.reason) == (VoteState.NOT_LEARNED, "unreadable")
    assert not is_learned(story, "user", WINDOW_S)
    assert not is_learned(story, "nobody", WINDOW_S)
