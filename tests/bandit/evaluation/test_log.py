"""The order of the story: what may be learned when, and which rounds are of use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from bandit.context import Record
from bandit.errors import CannotEvaluate
from bandit.evaluation.log import (
    NO_CHOICE,
    NO_QUALITY,
    NOT_EXPLORED,
    UNREADABLE,
    UNSOUND,
    Log,
    arms_of,
    live_policy,
    unusable,
)
from bandit.evaluation.simulated_log import EVERY_S, START_S, simulate, write
from bandit.fake_traffic import fake_request
from bandit.joins import close_due
from bandit.journal import Journal
from bandit.tables import joins
from bandit.uniform import UniformPolicy


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def close_all(journal: Journal, now_s: float) -> None:
    with journal.write() as connection:
        while close_due(connection, now_s=now_s, window_s=60, vote_window_s=86400, default_quality=0.5, limit=100):
            pass


def fake_journal(journal: Journal, count: int, every_s: float) -> None:
    for number in range(count):
        request = fake_request(number, now_s=START_S + number * every_s)
        journal.append([request.decision, request.outcome])
        for signal in (request.quality, request.rating):
            if signal is not None:
                journal.append_signal(signal)
        close_all(journal, request.outcome.completed_at_s + 0.5)
        if request.late_rating is not None:
            journal.append_signal(request.late_rating)
    close_all(journal, START_S + 1e6)


def test_events_are_in_the_order_of_time_and_nothing_is_learned_before_it_is_complete(journal: Journal) -> None:
    """Requests overlap: a slow arm's outcome comes after later decisions, though its position may be earlier."""
    fake_journal(journal, 120, every_s=0.3)
    log = Log(journal)
    decided: dict[str, float] = {}
    learned: set[str] = set()
    times, overlaps, unserved = [], 0, 0
    for event in log.events():
        assert event is not None
        times.append(event.at_s)
        record = event.record
        story = journal.read_decision(record.decision_id)
        assert story is not None
        assert story.outcome is not None
        if event.kind == "decide":
            assert not record.amends
            assert record.decision_id not in decided
            decided[record.decision_id] = event.at_s
            assert event.at_s == story.decision.created_at_s
            assert event.status == story.outcome.status
            assert record.latency_s == story.outcome.latency_s
            unserved += event.status == "failed"
        else:
            assert record.decision_id in decided, "learned before it was decided"
            overlaps += any(at_s > decided[record.decision_id] for at_s in decided.values())
            assert event.at_s >= story.outcome.completed_at_s
            learned.add(record.decision_id)
    assert times == sorted(times)
    assert list(decided.values()) == sorted(decided.values())
    assert overlaps > 20
    assert unserved > 0
    assert len(learned) > 100
    assert len(decided) == log.decided == 120
    assert log.excluded == {}


def test_a_vote_is_learned_and_is_no_round(journal: Journal) -> None:
    fake_journal(journal, 150, every_s=5.0)
    events = [event for event in Log(journal).events() if event is not None]
    amending = [event for event in events if event.record.amends]
    assert len(amending) > 5
    assert {event.kind for event in amending} == {"learn"}
    rounds = [event.record.decision_id for event in events if event.kind == "decide"]
    assert len(rounds) == len(set(rounds))


def test_a_clock_that_jumped_back_lets_nobody_learn_a_round_before_it_is_decided(journal: Journal) -> None:
    for number in range(10):
        request = fake_request(number, now_s=START_S + 10 * number)
        jumped = replace(request.outcome, completed_at_s=START_S - 3600)
        journal.append([request.decision, jumped])
        if request.quality is not None:
            journal.append_signal(request.quality)
    close_all(journal, START_S + 1e6)
    decided = set()
    for event in Log(journal).events():
        assert event is not None
        if event.kind == "decide":
            decided.add(event.record.decision_id)
        else:
            assert event.record.decision_id in decided


def test_times_bound_the_rounds_and_history_what_is_learned_before(journal: Journal) -> None:
    records = simulate(UniformPolicy(), 40, seed=5).records
    write(journal, records, "uniform")
    since_s, until_s = START_S + 20 * EVERY_S, START_S + 30 * EVERY_S

    def story(**bounds: float | None) -> tuple[list[str], list[str]]:
        events = [event for event in Log(journal, **bounds).events() if event is not None]
        return tuple(
            [event.record.decision_id for event in events if event.kind == kind] for kind in ("decide", "learn")
        )

    decided, learned = story(since_s=since_s, until_s=until_s)
    assert decided == [str(number) for number in range(20, 30)]
    assert learned == [str(number) for number in range(29)]
    _, learned = story(since_s=since_s, until_s=until_s, history_s=5 * EVERY_S)
    assert learned == [str(number) for number in range(15, 29)]
    decided, _ = story(until_s=until_s)
    assert decided == [str(number) for number in range(30)]


def test_a_damaged_record_is_counted_and_stops_nothing(journal: Journal) -> None:
    write(journal, simulate(UniformPolicy(), 20, seed=5).records, "uniform")
    with journal.write() as connection:
        connection.execute(update(joins).where(joins.c.position == 7).values(record=json.loads('{"arms": 3}')))
    log = Log(journal)
    decided = [event for event in log.events() if event is not None and event.kind == "decide"]
    assert (len(decided), log.excluded[UNREADABLE], log.decided) == (19, 1, 20)


def test_unusable_rounds_are_named(even_log) -> None:
    record: Record = even_log.truth.records[0]
    context = record.context
    alone = tuple(replace(arm, available=arm.name == record.decision.arm) for arm in context.arms)
    other = next(arm.name for arm in context.arms if arm.name != record.served_arm)
    assert unusable(record) is None
    assert unusable(replace(record, context=replace(context, arms=alone))) == NO_CHOICE
    assert unusable(replace(record, served_arm=other)) is None, "the round of the drawn arm"
    assert unusable(replace(record, decision=replace(record.decision, propensity=0.0))) == UNSOUND
    down = tuple(replace(arm, available=arm.name != record.decision.arm) for arm in context.arms)
    assert unusable(replace(record, context=replace(context, arms=down))) == UNSOUND
    assert unusable(replace(record, quality_is_default=True)) == NO_QUALITY
    decision = record.decision
    third = 1 / 3
    for probabilities in (
        dict.fromkeys(decision.probabilities, 0.9 * third),
        {name: float("nan") for name in decision.probabilities},
        decision.probabilities | {decision.arm: -third},
        {decision.arm: third, "gone@now": 2 * third},
        {name: float(name == decision.arm) for name in decision.probabilities},
        {},
    ):
        assert unusable(replace(record, decision=replace(decision, probabilities=probabilities))) == UNSOUND
    certain = replace(decision, propensity=1.0, probabilities={decision.arm: 1.0})
    assert unusable(replace(record, decision=certain)) is None
    assert unusable(replace(record, decision=certain), explored_only=True) == NOT_EXPLORED


def test_an_empty_journal_and_times_that_hold_nothing_are_refused(journal: Journal) -> None:
    with pytest.raises(CannotEvaluate, match="no closed decision; is the URL right"):
        Log(journal)
    assert arms_of(journal) == ()
    assert live_policy(journal) is None
    write(journal, simulate(UniformPolicy(), 5, seed=5).records, "uniform")
    with pytest.raises(CannotEvaluate, match="no closed decision from 2023-11-14T22:30:00"):
        Log(journal, since_s=START_S + 1000)
    assert arms_of(journal) == ("gan@one", "diffusion@20", "flow@full")
    assert live_policy(journal) == "uniform"


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"since_s": 20.0, "until_s": 10.0}, "is not before until"),
        ({"since_s": 20.0, "until_s": 20.0}, "is not before until"),
        ({"since_s": float("nan")}, "since is nan; allowed: Unix seconds"),
        ({"until_s": float("inf")}, "until is inf"),
        ({"since_s": 1e300}, "since is 1e[+]300"),
        ({"since_s": 20.0, "history_s": -1.0}, "history is -1.0"),
    ],
)
def test_times_that_cannot_be_are_refused(journal: Journal, bounds: dict[str, float], said: str) -> None:
    with pytest.raises(CannotEvaluate, match=said):
        Log(journal, **bounds)


def test_what_was_not_served_is_a_round_of_the_drawn_arm_and_teaches_nothing(journal: Journal) -> None:
    records = simulate(UniformPolicy(), 30, seed=5).records
    lost = {"3": "failed", "7": "refused", "11": "cancelled"}
    write(journal, records, "uniform", unserved=lost)
    events = [event for event in Log(journal).events() if event is not None]
    rounds = {event.record.decision_id: event for event in events if event.kind == "decide"}
    assert len(rounds) == 30
    for decision_id, status in lost.items():
        record, truth = rounds[decision_id].record, records[int(decision_id)]
        assert rounds[decision_id].status == status
        assert (record.decision, record.context) == (truth.decision, truth.context)
        assert (record.quality, record.cost_usd, record.latency_s) == (0.0, 0.0, truth.latency_s)
        assert unusable(record) == (NO_QUALITY if status == "cancelled" else None)
    learned = {event.record.decision_id for event in events if event.kind == "learn"}
    assert learned == {str(number) for number in range(29)} - lost.keys()
