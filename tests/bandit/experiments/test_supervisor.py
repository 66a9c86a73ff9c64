"""What happens by itself: variants beyond a guardrail stop, and one broken experiment spoils no other."""

from random import Random
from typing import Any

import pytest

from bandit.errors import JournalAway
from bandit.experiments import supervisor
from bandit.experiments.supervisor import Supervisor, supervise

ERRORS = [{"metric": "error_rate", "limit": "relative", "value": 0.5}]


def failing(told: Any, *names: str) -> Any:
    return lambda variant, rng: told(status="failed" if variant in names else "served", quality=rng.random())


def test_broken_variant_is_stopped_with_the_reason_in_its_event(world: Any, told: Any) -> None:
    variants = [{"name": name, "policy": "uniform"} for name in ("old", "new", "newer")]
    world.start(unit="request", guardrails=ERRORS, variants=variants)
    world.ask(90, failing(told, "new"))
    (action,) = supervise(world.journal, world.now_s)
    assert (action.experiment_id, action.variant, action.what) == ("exp", "new", "stopped")
    event = world.ledger.events("exp")[-1]
    assert (event.kind, event.actor) == ("variant_stopped", "supervisor")
    assert event.body["reason"] == action.sentence
    assert "units of it and 0 of old" in action.sentence
    assert supervise(world.journal, world.now_s) == []
    (running,) = world.ledger.running()
    assert running.stopped == {"new"}


def test_variants_that_all_fail_alike_are_not_stopped(world: Any, told: Any) -> None:
    world.start(unit="request", guardrails=ERRORS)
    world.ask(200, lambda variant, rng: told(status="failed" if rng.random() < 0.3 else "served"))
    assert supervise(world.journal, world.now_s) == []


def test_experiment_without_guardrails_is_left_alone(world: Any, told: Any) -> None:
    world.start(unit="request")
    world.ask(100, failing(told, "new"))
    assert supervise(world.journal, world.now_s) == []


def test_error_in_one_experiment_stops_no_other(world: Any, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start("first", unit="request", guardrails=ERRORS, traffic=0.5)
    world.start("second", unit="request", guardrails=ERRORS, traffic=0.5)
    world.ask(200, failing(told, "new"))
    real = supervisor.report

    def report(journal: Any, experiment_id: str, now_s: float) -> Any:
        if experiment_id == "first":
            raise ZeroDivisionError("bug")
        return real(journal, experiment_id, now_s)

    monkeypatch.setattr(supervisor, "report", report)
    actions = supervise(world.journal, world.now_s)
    assert [(one.experiment_id, one.what) for one in actions] == [("first", "failed"), ("second", "stopped")]
    assert actions[0].sentence == "ZeroDivisionError: bug"


def test_supervisor_keeps_its_pace_and_waits_longer_where_looking_takes_long(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looked = [0.0], []

    def look(journal: Any, now_s: float) -> list[Any]:
        looked.append(clock[0])
        clock[0] += 2.0  # it takes two seconds
        return []

    monkeypatch.setattr(supervisor, "supervise", look)
    subject = Supervisor(world.journal, every_s=5.0, clock=lambda: clock[0])
    for _ in range(100):
        subject.step(1.0)
        clock[0] += 1.0
    assert looked == [0.0, 42.0, 84.0]


def test_supervisor_waits_out_a_journal_that_is_away(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(journal: Any, now_s: float) -> Any:
        raise JournalAway("gone")

    monkeypatch.setattr(supervisor, "supervise", away)
    assert Supervisor(world.journal).step(1.0) == []


def test_guardrail_waits_for_knowledge_and_not_for_luck(world: Any, told: Any) -> None:
    world.start(unit="request", guardrails=[{"metric": "latency_s", "limit": "relative", "value": 0.2}])

    def outcome(variant: str, rng: Random) -> Any:
        return told(wait_s=rng.expovariate(1.0) * (2.0 if variant == "new" else 1.0))

    world.ask(50, outcome)
    assert supervise(world.journal, world.now_s) == []
    world.ask(700, outcome)
    assert [one.what for one in supervise(world.journal, world.now_s)] == ["stopped"]
