"""The gateway's replica without Ray: what it knows before its first request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bandit.errors import JournalAway
from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LedgerState
from bandit.journal import Journal
from serve.admin import Admin
from serve.catalogue import parse_catalogue
from serve.deciding import catalogue_policy
from serve.gateway_app import GatewayPlace, GatewayReplica
from tests.serve.in_process_gateway import CATALOGUE

USERS = [f"user {number}" for number in range(40)]


class NoHandle:
    """As a handle of Serve that has heard of no replica."""

    def running_replicas_populated(self) -> bool:
        return False


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayPlace:
    monkeypatch.setattr("serve.gateway_app._handle", lambda *_: NoHandle())
    url = f"sqlite:///{tmp_path}/journal.db"
    return GatewayPlace(url, b"salt", keep_prompts=False, body_limit_bytes=100_000, admin=Admin())


@pytest.fixture
def replicas(place: GatewayPlace) -> Iterator[list[GatewayReplica]]:
    made = [GatewayReplica(place) for _ in range(2)]
    yield made
    for one in made:
        one.__del__()


def start(url: str) -> None:
    ledger = Ledger(Journal.open(url))
    plan = {
        "experiment_id": "exp-1",
        "hypothesis": "so",
        "control": "a",
        "variants": [{"name": "a", "policy": "uniform"}, {"name": "b", "policy": "round_robin"}],
    }
    ledger.create(plan_from_json(plan), "test", time.time())
    live = catalogue_policy(parse_catalogue(CATALOGUE, "test.yaml").policy)
    ledger.start("exp-1", "test", time.time(), catalogue=live)


def config(text: str = CATALOGUE) -> dict[str, Any]:
    return {"catalogue": parse_catalogue(text, "test.yaml").gateway_values()}


def variants(replica: GatewayReplica) -> dict[str, str | None]:
    deciders = replica._in_use().deciders
    return {user: deciders.choose(user, "dec_1", time.time()).variant for user in USERS}


def test_a_replica_knows_the_experiments_before_its_first_request_also_after_another_catalogue(
    place: GatewayPlace, replicas: list[GatewayReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.gateway_app.EXPERIMENTS_EVERY_S", 3600.0)  # no look of the watch comes to help
    start(place.journal_url)
    one, other = replicas
    one.reconfigure(config())
    first = variants(one)
    assert set(first.values()) == {"exp-1:a", "exp-1:b"}
    other.reconfigure(config())
    assert variants(other) == first
    one.reconfigure(config(CATALOGUE.replace("price_usd: 0.001", "price_usd: 0.002")))
    assert variants(one) == first


def test_a_replica_starts_without_a_journal_that_answers_and_sees_experiments_later(
    place: GatewayPlace, replicas: list[GatewayReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.gateway_app.EXPERIMENTS_EVERY_S", 0.05)
    start(place.journal_url)
    away, replica, state = True, replicas[0], Ledger.state

    def state_or_away(self: Ledger) -> LedgerState:
        if away:
            raise JournalAway("gone")
        return state(self)

    monkeypatch.setattr(Ledger, "state", state_or_away)
    replica.reconfigure(config())
    assert set(variants(replica).values()) == {None}
    away = False
    deadline_s = time.monotonic() + 30
    while None in variants(replica).values():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
