from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest

import serve.experiments_learning
from bandit.errors import JournalAway
from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LivePolicy
from bandit.experiments.supervisor import Supervisor
from bandit.journal import Journal
from bandit.learner import LearnerSettings
from bandit.snapshots import Snapshots
from serve.catalogue import parse_catalogue
from serve.experiments_learning import ExperimentLearner
from serve.learner_app import LearnerReplica
from tests.serve.in_process_gateway import CATALOGUE, Setting

LIVE = LivePolicy("factored", {}, "factored")
VARIANTS = [
    {"name": "a", "policy": "factored"},
    {"name": "b", "policy": "factored", "options": {"floor": 0.2}, "learns_from": "own"},
]


def start(ledger: Ledger, experiment_id: str = "exp-1") -> None:
    plan = {"experiment_id": experiment_id, "hypothesis": "so", "control": "a", "variants": VARIANTS}
    ledger.create(plan_from_json(plan), "test", time.time())
    ledger.start(experiment_id, "test", time.time(), catalogue=LIVE)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(f"sqlite:///{tmp_path}/journal.db")


@pytest.fixture
def learner(journal: Journal) -> ExperimentLearner:
    return ExperimentLearner(journal, LIVE, "learner 1", LearnerSettings())


def test_step_folds_the_live_policy_and_every_variant_that_has_a_course_of_its_own(
    journal: Journal, learner: ExperimentLearner
) -> None:
    now_s = time.time()
    assert set(learner.step(now_s).positions) == {"factored"}
    ledger = Ledger(journal)
    start(ledger)
    assert set(learner.step(now_s).positions) == {"factored", "exp-1:b"}
    ledger.promote("exp-1", "b", "test", now_s, force=True)
    assert set(learner.step(now_s).positions) == {"factored", "exp-1:b"}  # live, and what a roll-back brings back
    ledger.roll_back("exp-1", "test", now_s, reason="worse")
    assert set(learner.step(now_s).positions) == {"factored"}


def test_step_says_whether_it_leads(journal: Journal, learner: ExperimentLearner) -> None:
    other = ExperimentLearner(journal, LIVE, "learner 2", LearnerSettings())
    now_s = time.time()
    learner.step(now_s)
    other.step(now_s)
    assert (learner.leads, other.leads) == (True, False)


def test_step_goes_on_learning_when_experiments_cannot_be_read(
    journal: Journal, learner: ExperimentLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(Ledger(journal))
    now_s = time.time()
    learner.step(now_s)

    def broken(*_: object) -> None:
        raise KeyError("an event of next year")

    monkeypatch.setattr(serve.experiments_learning, "courses", broken)
    report = learner.step(now_s + 1)
    assert (report.leader, set(report.positions)) == (True, {"factored", "exp-1:b"})


def test_step_without_a_journal_says_so_to_the_loop(
    learner: ExperimentLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Ledger) -> None:
        raise JournalAway("gone")

    monkeypatch.setattr(Ledger, "state", away)
    with pytest.raises(JournalAway):
        learner.step(time.time())


def test_a_replica_learns_variants_and_stops_one_that_fails_its_guardrail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: requests of users, scores, two courses, and the supervisor in a thread beside the learner."""
    monkeypatch.setattr("serve.learner_app.Supervisor", partial(Supervisor, every_s=0.1))
    text = CATALOGUE.replace("policy: {name: uniform}", "policy: {name: factored}\nlearning: {snapshot_after_s: 0.1}")
    text = text.replace("circuit_failures: 2", "circuit_failures: 1000")
    setting = Setting(tmp_path, text)
    fixed = {"name": "a", "policy": "fixed", "options": {"arm": "small@fast"}}
    dear = {"name": "b", "policy": "factored", "options": {"floor": 0.2}, "learns_from": "own"}
    guardrails = [{"metric": "error_rate", "limit": "bound", "value": 0.2}]
    setting.run_experiment(experiment_id="exp-1", variants=[fixed, dear], guardrails=guardrails)
    catalogue = parse_catalogue(text, "test.yaml")
    replica = LearnerReplica(catalogue.policy, catalogue.learning, f"sqlite:///{setting.path}")
    try:
        for number in range(12):
            setting.generate(user=f"user {number}")
        setting.loop.run_until_complete(setting.gateway.scoring.drain())
        wait_until(lambda: published(setting) == {"factored", "exp-1:b"})
        setting.look()
        assert setting.deciders.in_use.deciders["exp-1:b"].loaded.version is not None

        for tier in setting.tiers.values():
            tier.fault = failing
        for _ in range(60):
            setting.generate()  # without a user, so that each is a unit
        wait_until(lambda: setting.ledger.experiment("exp-1").status == "stopped")
        stopped = setting.ledger.experiment("exp-1").stopped_variants["b"]
        assert stopped.actor == "supervisor"
        assert "error_rate of b" in stopped.reason
    finally:
        replica.__del__()
        setting.close()


async def failing() -> None:
    raise RuntimeError("out of order")


def published(setting: Setting) -> set[str]:
    names = ("factored", "exp-1:b")
    return {name for name in names if Snapshots(setting.journal).newest(name) is not None}


def wait_until(look: object, limit_s: float = 60.0) -> None:
    assert callable(look)
    deadline_s = time.monotonic() + limit_s
    waiting = threading.Event()
    while not look():
        assert time.monotonic() < deadline_s
        waiting.wait(0.05)
