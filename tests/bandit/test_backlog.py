from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.backlog import Backlog, read_backlog
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.learner import Learner, LearnerSettings
from bandit.policies import build


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def backlog(journal: Journal, now_s: float) -> Backlog:
    return read_backlog(journal, "uniform", now_s=now_s, join_window_s=60)


def test_backlog_of_an_empty_journal_is_nothing(journal: Journal) -> None:
    assert backlog(journal, 1e9) == Backlog(0, None, None)
    assert not backlog(journal, 1e9).is_behind(0)


def test_backlog_grows_until_the_learner_has_published(journal: Journal) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served")
    outcome = replace(request.outcome, completed_at_s=1e9)
    journal.append_decision(request.decision)
    journal.append_outcome(outcome)
    assert backlog(journal, 1e9 + 59).waited_s is None, "its quality may still come"
    assert backlog(journal, 1e9 + 100).waited_s == pytest.approx(40)
    assert backlog(journal, 1e9 + 100).is_behind(30)

    settings = LearnerSettings(join_window_s=60, snapshot_every=1)
    features_schema = request.decision.context.features.schema
    policies = {"uniform": lambda: build("uniform")}
    learner = Learner(journal, policies, "me", features_schema=features_schema, settings=settings)
    learner.step(1e9 + 101)
    assert backlog(journal, 1e9 + 200) == Backlog(0, None, pytest.approx(99))
    assert not backlog(journal, 1e9 + 200).is_behind(30)
