"""Journals with a known truth, each written once for all tests of this folder; nobody may change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bandit.evaluation.simulated_log import Simulated, simulate, write
from bandit.journal import Journal
from bandit.policies import build


@dataclass(frozen=True)
class Written:
    """A journal, where it is, and the truth behind it."""

    journal: Journal
    url: str
    truth: Simulated


def written(folder, policy: str, options: dict[str, object], rounds: int, seed: int) -> Written:
    truth = simulate(build(policy, options), rounds, seed)
    url = f"sqlite:///{folder}/{policy}.db"
    journal = Journal.open(url)
    write(journal, truth.records, policy)
    return Written(journal, url, truth)


@pytest.fixture(scope="session")
def even_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Logged by the uniform policy."""
    log = written(tmp_path_factory.mktemp("even"), "uniform", {}, 1500, seed=1)
    yield log
    log.journal.close()


@pytest.fixture(scope="session")
def learned_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Logged by `factored`, learning as it went."""
    log = written(tmp_path_factory.mktemp("learned"), "factored", {"floor": 0.2}, 1500, seed=2)
    yield log
    log.journal.close()


@pytest.fixture(scope="session")
def stubborn_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Logged by a policy that draws one arm and never another: it can judge nobody else."""
    log = written(tmp_path_factory.mktemp("stubborn"), "fixed", {"arm": "flow@full"}, 300, seed=3)
    yield log
    log.journal.close()
