"""The learner from open joins to snapshots; over 400 lines, as all of it shares one chain policy and one journal."""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import event, select, update

from bandit.context import Context, Decision, Record
from bandit.errors import BadRecord, BadState, JournalAway
from bandit.fake_traffic import FakeRequest, fake_request
from bandit.fold import Fold
from bandit.joins import close_due, join_from_row, joins_after
from bandit.journal import Journal
from bandit.learner import Learner, LearnerSettings, StepReport
from bandit.learner_loop import run
from bandit.policies import build
from bandit.snapshots import Snapshots
from bandit.tables import bad_records, decisions, joins, snapshots
from bandit.verify import verify

START_S = 1_700_000_000.0
SETTINGS = LearnerSettings(join_window_s=60, lease_s=10, snapshot_every=10, snapshot_after_s=5, batch=7)


class Chain:
    """A policy whose state is a hash over all records in order: any record lost, doubled or moved shows."""

    name = "chain"

    def __init__(self, refuse: Callable[[Record], bool] = lambda record: False, healthy: bool = True) -> None:
        self.head = "start"
        self.refuse = refuse
        self.healthy = healthy

    def decide(self, context: Context, rng: Random) -> Decision:
        share = 1 / len(context.arms) if self.healthy else float("nan")
        arm = context.arms[0].name
        return Decision(arm, share, {arm.name: share for arm in context.arms})

    def learn(self, record: Record) -> None:
        if self.refuse(record):
            raise BadRecord("not to my taste")
        text = f"{self.head} {record.decision_id} {record.quality!r} {record.latency_s!r} {record.served_arm}"
        text += f" {record.rating!r} {record.amends}"
        self.head = hashlib.sha256(text.encode()).hexdigest()

    def state(self) -> bytes:
        return json.dumps({"head": self.head}).encode()

    def restore(self, state: bytes) -> None:
        try:
            self.head = json.loads(state)["head"]
        except (ValueError, KeyError) as error:
            raise BadState("not a chain") from error


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def learner(journal: Journal, holder: str = "a", make: Callable[[], Chain] = Chain, **changes: object) -> Learner:
    settings = replace(SETTINGS, **changes)
    return Learner(journal, {"chain": make}, holder, features_schema="words-1", settings=settings)


def append(journal: Journal, first: int, last: int, scored: bool = True) -> list[FakeRequest]:
    requests = [fake_request(number, now_s=START_S) for number in range(first, last)]
    for request in requests:
        journal.append([request.decision, request.outcome])
        if scored:
            journal.append([signal for signal in (request.rating, request.quality) if signal is not None])
    return requests


def uninterrupted(journal: Journal, make: Callable[[], Chain] = Chain) -> bytes:
    fold = Fold(make, "words-1")
    with journal.read() as connection:
        fold.learn(joins_after(connection, 0, 10**9))
    return fold.policy.state()


def newest_state(journal: Journal) -> tuple[int, bytes]:
    snapshot = Snapshots(journal).newest("chain")
    assert snapshot is not None
    return snapshot.position, snapshot.payload


def finish(subject: Learner, now_s: float) -> StepReport:
    report = subject.step(now_s)
    while report.more:
        report = subject.step(now_s)
    return report


def test_join_closes_when_outcome_and_quality_are_there(journal: Journal) -> None:
    requests = append(journal, 0, 40)
    report = learner(journal).step(START_S + 10)
    complete = [r for r in requests if r.outcome.status == "served" and r.quality]
    not_served = [r for r in requests if r.outcome.status != "served"]
    assert report.leader
    assert report.closed == len(complete) + len(not_served)
    assert report.learned == len(complete)
    for request in requests:
        story = journal.read_decision(request.decision.decision_id)
        assert story is not None
        if request in complete:
            assert story.join is not None
            record = story.join.record
            assert story.join.reason == "complete"
            assert record is not None
            assert record.context == request.decision.context
            assert record.decision == request.decision.decision
            assert record.quality == request.quality.value  # type: ignore[union-attr]
            assert record.quality_is_default is False
            assert record.rating == (request.rating.value if request.rating else None)
            assert (record.served_arm, record.latency_s) == (request.outcome.served_arm, request.outcome.latency_s)
        elif request in not_served:
            assert story.join is not None
            assert (story.join.reason, story.join.record) == ("not_served", None)
        else:
            assert story.join is None


def test_quality_before_the_outcome_closes_too(journal: Journal) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served" and r.quality)
    assert request.quality is not None
    journal.append([request.decision])
    journal.append([request.quality])
    assert learner(journal).step(START_S).closed == 0
    journal.append([request.outcome])
    assert learner(journal, "b").step(START_S + 20).closed == 1


def test_join_without_quality_closes_after_the_window_with_the_default(journal: Journal) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served")
    journal.append([request.decision, request.outcome])
    subject = learner(journal, default_quality=0.4)
    end_s = request.outcome.completed_at_s + 60
    assert subject.step(end_s - 0.01).closed == 0
    assert subject.step(end_s + 0.01).closed == 1
    story = journal.read_decision(request.decision.decision_id)
    assert story is not None
    assert story.join is not None
    assert story.join.record is not None
    assert (story.join.reason, story.join.record.quality) == ("window", 0.4)
    assert story.join.record.quality_is_default


def test_earliest_quality_counts_where_several_sources_speak(journal: Journal) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served" and r.quality)
    assert request.quality is not None
    later = replace(request.quality, source="a-scorer", value=0.111, received_at_s=request.quality.received_at_s + 1)
    journal.append([request.decision, request.outcome, later, request.quality])
    learner(journal).step(START_S)
    story = journal.read_decision(request.decision.decision_id)
    assert story is not None
    assert story.join is not None
    assert story.join.record is not None
    assert story.join.record.quality == request.quality.value


def test_restart_gives_the_bytes_of_an_uninterrupted_run(journal: Journal) -> None:
    now_s = START_S
    for start in range(0, 200, 20):
        append(journal, start, start + 20)
        now_s += 20  # the lease of the one before, which never gave it back, has expired
        finish(learner(journal, f"life-{start}"), now_s)
    final = learner(journal, "last")
    finish(final, now_s + 100)
    final.stop(now_s + 100)
    position, state = newest_state(journal)
    assert position == 200
    assert state == uninterrupted(journal)
    assert verify(journal).findings == ()


def test_joins_are_stored_before_their_snapshot_and_learned_after_a_crash(journal: Journal) -> None:
    """Killed between closing joins and publishing: nothing of it may be lost or counted twice."""
    append(journal, 0, 30)
    first = learner(journal, snapshot_every=1000, snapshot_after_s=1000)
    assert not finish(first, START_S + 100).published
    second = learner(journal, "b")
    finish(second, START_S + 200)
    assert newest_state(journal) == (30, uninterrupted(journal))


def test_only_one_of_two_learners_writes(journal: Journal) -> None:
    append(journal, 0, 20)
    first, second = learner(journal, "a"), learner(journal, "b")
    assert first.step(START_S).leader
    report = second.step(START_S + 5)
    assert report == StepReport(leader=False)
    assert first.step(START_S + 9).leader  # renews
    assert not second.step(START_S + 15).leader
    assert second.step(START_S + 30).leader


def test_stale_learner_is_refused_and_can_come_back(journal: Journal) -> None:
    first, second = learner(journal, "a"), learner(journal, "b")
    append(journal, 0, 20)
    assert finish(first, START_S + 100).leader
    append(journal, 20, 40)
    assert finish(second, START_S + 200).leader
    before = newest_state(journal)
    append(journal, 40, 60)
    # Its own clock stood still, so it believes in its lease and is refused inside the write transaction.
    assert first.step(START_S + 100) == StepReport(leader=False)
    with journal.read() as connection:
        assert connection.scalar(select(joins.c.position).order_by(joins.c.position.desc()).limit(1)) == 40
    assert newest_state(journal) == before
    assert finish(first, START_S + 300).leader
    assert newest_state(journal) == (60, uninterrupted(journal))
    assert verify(journal).findings == ()


def test_bad_record_is_counted_kept_once_and_stops_nothing(journal: Journal) -> None:
    append(journal, 0, 30)

    def make() -> Chain:
        return Chain(refuse=lambda record: record.decision_id.endswith(("5", "7")))

    report = finish(learner(journal, make=make, step_joins=10**6), START_S + 100)
    finish(learner(journal, "b", make=make), START_S + 200)
    with journal.read() as connection:
        rows = connection.execute(select(bad_records).order_by(bad_records.c.position)).all()
        learned = [join_from_row(row) for row in joins_after(connection, 0, 100)]
    expected = [j for j in learned if j.record is not None and j.decision_id.endswith(("5", "7"))]
    assert report.refused_records == len(expected) > 0
    assert [(row.policy, row.position, row.reason) for row in rows] == [
        ("chain", join.position, "not to my taste") for join in expected
    ]
    assert newest_state(journal) == (30, uninterrupted(journal, make))


def test_policy_that_raises_something_else_does_not_stop_the_fold(journal: Journal) -> None:
    append(journal, 0, 20)

    class Buggy(Chain):
        def learn(self, record: Record) -> None:
            if record.decision_id.endswith("3"):
                raise RuntimeError("bug")
            super().learn(record)

    finish(learner(journal, make=Buggy), START_S + 100)
    assert newest_state(journal) == (20, uninterrupted(journal, Buggy))
    with journal.read() as connection:
        assert "RuntimeError('bug')" in connection.execute(select(bad_records.c.reason)).scalars().all()[0]


def test_unreadable_record_is_counted_and_stops_nothing(journal: Journal) -> None:
    append(journal, 0, 20)
    finish(learner(journal, make=Chain, snapshot_every=1000, snapshot_after_s=1000), START_S + 100)
    with journal.write() as connection:
        connection.execute(update(joins).where(joins.c.position == 3).values(record={"nonsense": 1}))
    finish(learner(journal, "b"), START_S + 200)
    assert newest_state(journal)[0] == 20
    with journal.read() as connection:
        assert connection.execute(select(bad_records.c.position)).scalars().all() == [3]
    assert any("position 3" in finding for finding in verify(journal).findings)


def test_unreadable_decision_does_not_hold_up_the_joins_after_it(journal: Journal) -> None:
    requests = append(journal, 0, 20)
    with journal.write() as connection:
        damaged = decisions.c.decision_id == requests[4].decision.decision_id
        connection.execute(update(decisions).where(damaged).values(arms=[{"name": 1}]))
    report = finish(learner(journal), START_S + 100)
    assert report.positions == {"chain": 20}
    with journal.read() as connection:
        rows = joins_after(connection, 0, 100)
    assert [row["decision_id"] for row in rows if row["reason"] == "unreadable"] == [requests[4].decision.decision_id]


def test_features_of_another_schema_are_not_learned(journal: Journal) -> None:
    append(journal, 0, 10)
    other = Learner(journal, {"chain": Chain}, "a", features_schema="words-2", settings=SETTINGS)
    report = finish(other, START_S + 100)
    assert report.learned == 0
    assert report.refused_records > 0


def test_gap_in_the_joins_is_an_error_not_a_guess(journal: Journal) -> None:
    append(journal, 0, 10)
    finish(learner(journal, snapshot_every=1000, snapshot_after_s=1000), START_S + 100)
    with journal.write() as connection:
        connection.execute(joins.delete().where(joins.c.position == 4))
    with pytest.raises(ValueError, match="join 5 follows 3"):
        finish(learner(journal, "b"), START_S + 200)
    findings = verify(journal).findings
    assert any("position 5 follows 3" in finding for finding in findings)
    assert any("neither joined nor waiting" in finding for finding in findings)


def test_unhealthy_state_is_not_published_and_the_last_good_one_stays(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    append(journal, 0, 20)
    finish(learner(journal), START_S + 100)
    before = newest_state(journal)
    append(journal, 20, 40)
    sick = learner(journal, "b", make=lambda: Chain(healthy=False))
    with caplog.at_level(logging.ERROR):
        report = sick.step(START_S + 200)
    assert report.published == {}
    assert "nan" in report.refused_snapshots["chain"]
    assert newest_state(journal) == before
    assert not sick.step(START_S + 201).refused_snapshots  # not tried again at each step ...
    append(journal, 40, 60)
    assert sick.step(START_S + 300).refused_snapshots  # ... but again later


def test_damaged_snapshot_makes_the_learner_start_from_the_one_before(journal: Journal) -> None:
    append(journal, 0, 20)
    finish(learner(journal), START_S + 100)
    append(journal, 20, 40)
    finish(learner(journal, "b"), START_S + 200)
    with journal.write() as connection:
        newest = connection.scalar(select(snapshots.c.version).order_by(snapshots.c.version.desc()).limit(1))
        connection.execute(update(snapshots).where(snapshots.c.version == newest).values(payload=b'{"head": "evil"}'))
    append(journal, 40, 60)
    finish(learner(journal, "c"), START_S + 300)
    assert newest_state(journal) == (60, uninterrupted(journal))


def test_snapshot_that_the_policy_does_not_take_is_passed_over(journal: Journal) -> None:
    append(journal, 0, 20)
    finish(learner(journal), START_S + 100)
    _, payload = newest_state(journal)

    class Picky(Chain):
        def restore(self, state: bytes) -> None:
            if state == payload:
                raise BadState("other options")
            super().restore(state)

    append(journal, 20, 40)
    finish(learner(journal, "b", make=Picky), START_S + 200)
    assert newest_state(journal) == (40, uninterrupted(journal))


def test_publishing_after_so_many_joins_or_so_much_time(journal: Journal) -> None:
    subject = learner(journal, snapshot_every=10, snapshot_after_s=5)
    append(journal, 0, 3)
    assert not subject.step(START_S + 61).published
    assert not subject.step(START_S + 65).published
    assert subject.step(START_S + 66).published
    assert not subject.step(START_S + 80).published  # nothing new
    append(journal, 3, 23)
    assert subject.step(START_S + 81).published


def test_several_policies_learn_from_the_same_joins(journal: Journal) -> None:
    policies = {name: (lambda name=name: build(name)) for name in ("vowpal", "factored", "uniform")}
    subject = Learner(journal, policies, "a", features_schema="words-1", settings=SETTINGS)
    append(journal, 0, 60)
    report = finish(subject, START_S + 100)
    assert set(report.published) <= set(policies)
    subject.stop(START_S + 100)
    for name, make in policies.items():
        snapshot = Snapshots(journal).newest(name)
        assert snapshot is not None
        fold = Fold(make, "words-1")
        with journal.read() as connection:
            assert fold.learn(joins_after(connection, 0, 1000)) == []
        assert (snapshot.position, snapshot.payload) == (60, fold.policy.state())


def test_stopped_learner_publishes_and_frees_the_lease(journal: Journal) -> None:
    append(journal, 0, 5)
    subject = learner(journal, snapshot_every=1000, snapshot_after_s=1000)
    finish(subject, START_S + 100)
    subject.stop(START_S + 100)
    assert newest_state(journal) == (5, uninterrupted(journal))
    assert learner(journal, "b").step(START_S + 100).leader


def test_idle_step_writes_nothing_but_its_check(journal: Journal) -> None:
    subject = learner(journal)
    append(journal, 0, 20)
    finish(subject, START_S + 100)
    written: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("SELECT", "BEGIN")):
            written.append(statement)

    event.listen(journal._database.engine, "before_cursor_execute", note)
    subject.step(START_S + 101)
    event.remove(journal._database.engine, "before_cursor_execute", note)
    assert written == []


def test_finding_due_joins_scans_no_history(journal: Journal) -> None:
    """The query plan, not a stopwatch: with many closed joins a step must still only touch what is open."""
    append(journal, 0, 5)
    plans: list[str] = []

    def explain(connection, cursor, statement: str, parameters: tuple, *_: object) -> None:  # type: ignore[no-untyped-def]
        if statement.startswith("SELECT"):
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(journal._database.engine, "before_cursor_execute", explain)
    with journal.write() as connection:
        close_due(connection, now_s=START_S + 100, window_s=60, vote_window_s=60, default_quality=0.5, limit=3)
    with journal.read() as connection:
        joins_after(connection, 2, 10)
    event.remove(journal._database.engine, "before_cursor_execute", explain)
    assert any("open_joins_due" in plan for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


def test_loop_waits_out_a_database_that_is_away(journal: Journal) -> None:
    append(journal, 0, 20)
    subject = learner(journal)
    step, calls = subject.step, []

    def failing(now_s: float) -> StepReport:
        calls.append(now_s)
        if len(calls) < 3:
            raise JournalAway("gone")
        return step(now_s)

    subject.step = failing  # type: ignore[method-assign]
    run(subject, threading.Event(), poll_s=0.001, until_idle=True, clock=lambda: START_S + 100)
    assert newest_state(journal) == (20, uninterrupted(journal))


def test_loop_stops_when_told(journal: Journal) -> None:
    append(journal, 0, 20)
    stop = threading.Event()
    thread = threading.Thread(
        target=run, args=(learner(journal), stop), kwargs={"poll_s": 0.01, "clock": lambda: START_S + 100}
    )
    thread.start()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
