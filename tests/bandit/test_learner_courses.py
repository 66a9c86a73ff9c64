"""Policies that come and go while the learner runs, and those that learn from one variant only."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.course import CoursePlan
from bandit.fake_traffic import fake_request
from bandit.fold import Fold
from bandit.joins import joins_after
from bandit.journal import Journal
from bandit.learner import Learner, LearnerSettings, StepReport
from bandit.rows import Row
from bandit.snapshots import Snapshots

START_S = 1_700_000_000.0
SETTINGS = LearnerSettings(join_window_s=60, lease_s=10, snapshot_every=10, snapshot_after_s=5, batch=7)
ALL = CoursePlan("vowpal", {"bits": 10})
OWN = CoursePlan("vowpal", {"bits": 10}, "exp:a")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def append(journal: Journal, first: int, last: int) -> None:
    variants = ("exp:a", "exp:b", None, "exp:a:live", "exp:ab")
    rows: list[Row] = []
    for number in range(first, last):
        request = fake_request(number, now_s=START_S)
        rows += [replace(request.decision, variant=variants[number % len(variants)]), request.outcome]
        rows += [signal for signal in (request.rating, request.quality) if signal is not None]
    journal.append(rows)


def learner(journal: Journal, policies: dict[str, CoursePlan], holder: str = "a", **changes: object) -> Learner:
    settings = replace(SETTINGS, **changes)
    return Learner(journal, policies, holder, features_schema="words-1", settings=settings)


def finish(subject: Learner, now_s: float) -> StepReport:
    report = subject.step(now_s)
    while report.more:
        report = subject.step(now_s)
    return report


def uninterrupted(journal: Journal, plan: CoursePlan) -> bytes:
    fold = Fold(plan, "words-1", plan.learns)
    with journal.read() as connection:
        fold.learn(joins_after(connection, 0, 10**9))
    return fold.policy.state()


def newest(journal: Journal, name: str) -> tuple[int, bytes]:
    snapshot = Snapshots(journal).newest(name)
    assert snapshot is not None
    return snapshot.position, snapshot.payload


def test_own_learner_learns_from_its_variant_only_and_moves_with_the_others(journal: Journal) -> None:
    append(journal, 0, 60)
    subject = learner(journal, {"all": ALL, "exp:a": OWN})
    finish(subject, START_S + 100)
    subject.stop(START_S + 100)
    with journal.read() as connection:
        rows = joins_after(connection, 0, 1000)
    plain = Fold(ALL, "words-1")
    own = [row for row in rows if row["record"] and row["record"]["variant"] in ("exp:a", "exp:a:live")]
    plain.learn({**row, "position": place} for place, row in enumerate(own, start=1))
    assert newest(journal, "exp:a") == (60, plain.policy.state())
    assert newest(journal, "all") == (60, uninterrupted(journal, ALL))
    assert newest(journal, "all")[1] != newest(journal, "exp:a")[1]


def test_policy_that_is_added_is_folded_from_the_first_join(journal: Journal) -> None:
    append(journal, 0, 50)
    subject = learner(journal, {"all": ALL})
    finish(subject, START_S + 100)
    append(journal, 50, 60)
    subject.set_policies({"all": ALL, "exp:a": OWN})
    report = finish(subject, START_S + 101)
    subject.stop(START_S + 101)
    assert report.positions == {"all": 60, "exp:a": 60}
    assert newest(journal, "exp:a") == (60, uninterrupted(journal, OWN))


def test_policy_that_is_removed_publishes_and_goes_on_from_there_when_it_is_back(journal: Journal) -> None:
    append(journal, 0, 30)
    subject = learner(journal, {"all": ALL, "exp:a": OWN}, snapshot_every=1000, snapshot_after_s=1000)
    finish(subject, START_S + 100)
    subject.set_policies({"all": ALL})
    append(journal, 30, 50)
    assert finish(subject, START_S + 101).positions == {"all": 50}
    assert newest(journal, "exp:a")[0] == 30
    subject.set_policies({"all": ALL, "exp:a": OWN})
    finish(subject, START_S + 102)
    subject.stop(START_S + 102)
    assert newest(journal, "exp:a") == (50, uninterrupted(journal, OWN))


def test_equal_plan_goes_on_without_a_new_start(journal: Journal) -> None:
    append(journal, 0, 30)
    subject = learner(journal, {"exp:a": OWN}, snapshot_every=1000, snapshot_after_s=1000)
    finish(subject, START_S + 100)
    subject.set_policies({"exp:a": CoursePlan("vowpal", {"bits": 10}, "exp:a")})
    assert subject.step(START_S + 101).learned == 0
    assert Snapshots(journal).newest("exp:a") is None


def test_policy_that_is_far_behind_holds_nobody_up(journal: Journal) -> None:
    append(journal, 0, 200)
    subject = learner(journal, {"all": ALL}, catch_up_joins=20)
    finish(subject, START_S + 100)
    subject.set_policies({"all": ALL, "exp:a": OWN, "exp:b": CoursePlan("vowpal", {"bits": 10}, "exp:b")})
    positions = []
    for step in range(30):
        append(journal, 200 + step, 201 + step)
        positions.append(dict(subject.step(START_S + 101).positions))
    assert [one["all"] for one in positions] == list(range(201, 231))
    assert positions[0]["exp:a"] == 20
    assert positions[-1] == {"all": 230, "exp:a": 230, "exp:b": 230}
    subject.stop(START_S + 101)
    assert newest(journal, "exp:a") == (230, uninterrupted(journal, OWN))


def test_one_that_is_a_little_behind_is_not_held_up_by_one_that_is_far_behind(journal: Journal) -> None:
    append(journal, 0, 100)
    subject = learner(journal, {"all": ALL, "exp:a": OWN}, catch_up_joins=20)
    finish(subject, START_S + 100)
    subject.set_policies({"all": ALL})
    append(journal, 100, 105)
    finish(subject, START_S + 101)
    subject.set_policies({"all": ALL, "exp:a": OWN, "exp:b": CoursePlan("vowpal", {"bits": 10}, "exp:b")})
    assert subject.step(START_S + 101).positions == {"all": 105, "exp:a": 105, "exp:b": 10}


def test_policy_that_catches_up_publishes_by_time_not_by_number(journal: Journal) -> None:
    append(journal, 0, 100)
    subject = learner(journal, {"all": ALL}, catch_up_joins=20)
    finish(subject, START_S + 100)
    subject.set_policies({"all": ALL, "exp:a": OWN})
    assert "exp:a" not in subject.step(START_S + 101).published
    assert "exp:a" in subject.step(START_S + 107).published


def test_changing_policies_and_restarts_give_the_bytes_of_an_uninterrupted_run(journal: Journal) -> None:
    now_s = START_S
    for life in range(12):
        append(journal, life * 15, life * 15 + 15)
        now_s += 20  # the lease of the one before, which never gave it back, has expired
        policies = {"all": ALL} if life % 3 == 1 else {"all": ALL, "exp:a": OWN}
        subject = learner(journal, policies, f"life-{life}", catch_up_joins=4)
        subject.step(now_s)
        if life % 2:
            subject.set_policies({"all": ALL, "exp:a": OWN})
            subject.step(now_s + 1)
    last = learner(journal, {"all": ALL, "exp:a": OWN}, "last")
    finish(last, now_s + 100)
    last.stop(now_s + 100)
    for name, plan in (("all", ALL), ("exp:a", OWN)):
        assert newest(journal, name) == (180, uninterrupted(journal, plan))


def test_course_of_an_unknown_policy_stops_no_other(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    append(journal, 0, 20)
    subject = learner(journal, {"all": ALL, "exp:x": CoursePlan("no-such-policy")})
    with caplog.at_level(logging.ERROR):
        assert finish(subject, START_S + 100).positions == {"all": 20}
    assert "there is no policy 'no-such-policy'" in caplog.text


def test_each_plan_learns_the_records_of_its_own_features_and_refuses_no_others(journal: Journal) -> None:
    append(journal, 0, 30)
    other = CoursePlan("vowpal", {"bits": 10, "features_schema": "words-1+minilm-1"})
    subject = learner(journal, {"all": ALL, "exp:x": other})
    report = finish(subject, START_S + 100)
    subject.stop(START_S + 100)
    assert report.refused_records == 0
    assert newest(journal, "exp:x") == (30, other().state())
    assert Snapshots(journal).newest("exp:x", features_schema="words-1+minilm-1") is not None
