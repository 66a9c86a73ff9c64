"""A journal with an experiment that runs, and requests of made-up users in it, whose outcomes a test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bandit.context import Weights
from bandit.experiments.assignment import find
from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LivePolicy
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.rows import DecisionRow, OutcomeRow, Row, SignalRow
from bandit.signals import SignalKind
from bandit.votes import vote_source

CATALOGUE = LivePolicy("uniform", {}, "uniform")


@dataclass(frozen=True)
class Outcome:
    """What became of one request; `quality` None: not measured (yet)."""

    quality: float | None = 0.5
    wait_s: float = 1.0
    status: str | None = "served"  # None: no outcome yet
    cost_usd: float = 0.002
    rating: float | None = None
    rated_by: str | None = None  # None: the caller


@dataclass
class World:
    """Requests go the way that the gateway's do: assigned, decided, appended."""

    journal: Journal
    ledger: Ledger
    rng: Random = field(default_factory=lambda: Random(1))
    now_s: float = 1_000_000.0
    requests: int = 0

    def start(self, experiment_id: str = "exp", **changes: Any) -> None:
        value = {
            "experiment_id": experiment_id,
            "hypothesis": "none",
            "control": "old",
            "least_units": 50,
            "variants": [{"name": name, "policy": "uniform"} for name in ("old", "new")],
        }
        self.ledger.create(plan_from_json(value | changes), "ann", self.now_s)
        self.ledger.start(experiment_id, "ann", self.now_s, catalogue=CATALOGUE)

    def ask(
        self,
        count: int,
        outcome: Callable[[str, Random], Outcome],
        *,
        users: int | None = None,
        every_s: float = 1.0,
        skew_s: float = 0.0,
        variant: str | None = None,
        **decided: Any,
    ) -> list[Row]:
        """So many requests; `users`: drawn from so many (None: nobody gives a name); `skew_s`: of its clock."""
        rows: list[Row] = []
        running = self.ledger.running()
        for _ in range(count):
            self.requests += 1
            self.now_s += every_s
            caller = None if users is None else f"{self.rng.randrange(users):064d}"
            decision = replace(
                fake_request(self.requests).decision,
                created_at_s=self.now_s + skew_s,
                caller_hash=caller,
                variant=None,
                **decided,
            )
            exposure = find(running, caller or decision.decision_id, self.now_s + skew_s)
            if exposure is not None or variant is not None:
                column = variant or exposure.column  # type: ignore[union-attr]
                decision = replace(decision, variant=column)
                rows += self._story(decision, outcome(column.split(":")[1], self.rng))
        results = self.journal.append(rows)
        assert not [one for one in results if isinstance(one, Exception)]
        return rows

    def _story(self, decision: DecisionRow, told: Outcome) -> list[Row]:
        rows: list[Row] = [decision]
        if told.status is None:
            return rows
        done_s = decision.created_at_s + told.wait_s
        served = told.status == "served"
        rows.append(
            OutcomeRow(
                decision_id=decision.decision_id,
                status=told.status,
                served_arm=decision.decision.arm if served else None,
                latency_s=told.wait_s,
                cost_usd=told.cost_usd if served else 0.0,
                completed_at_s=done_s,
            )
        )
        if served and told.quality is not None:
            quality = min(max(told.quality, 0.0), 1.0)
            rows.append(SignalRow(decision.decision_id, SignalKind.QUALITY.value, "scorer", quality, done_s + 1))
        if told.rating is not None:
            source = told.rated_by or vote_source(decision.caller_hash)
            rows.append(SignalRow(decision.decision_id, SignalKind.RATING.value, source, told.rating, done_s + 2))
        return rows


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


@pytest.fixture
def world(journal: Journal) -> World:
    return World(journal, Ledger(journal))


@pytest.fixture
def weights() -> Weights:
    """Those of every decision of `World`."""
    return fake_request(1).decision.context.weights


@pytest.fixture
def told() -> type[Outcome]:
    return Outcome
