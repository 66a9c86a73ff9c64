from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bandit import leases
from bandit.errors import JournalAway, UnknownPolicy
from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LivePolicy
from bandit.journal import Journal
from bandit.policies import build
from bandit.snapshots import Snapshots
from serve.experiments_deciding import Deciders
from serve.experiments_watch import ExperimentsLook, new_decider

LIVE = LivePolicy("factored", {"floor": 0.05}, "factored")
VARIANTS = [
    {"name": "a", "policy": "factored", "options": {"floor": 0.05}},
    {"name": "b", "policy": "factored", "options": {"floor": 0.2}},
]


class Watched:
    """A look with its deciders and ledger."""

    def __init__(self, directory: Path) -> None:
        self.journal = Journal.open(f"sqlite:///{directory}/journal.db", busy_timeout_s=0.05)
        self.ledger = Ledger(self.journal)
        self.deciders = Deciders(new_decider(LIVE, "uniform"), lambda row: None, Random(1))
        self.look = ExperimentsLook(
            Ledger(self.journal), Snapshots(self.journal), LIVE, "uniform", self.deciders, actor="gateway test"
        )

    def run(self, experiment_id: str = "exp-1", variants: Any = VARIANTS, **plan: Any) -> None:
        given = {"experiment_id": experiment_id, "hypothesis": "so", "control": "a", "variants": variants, **plan}
        self.ledger.create(plan_from_json(given), "test", time.time())
        self.ledger.start(experiment_id, "test", time.time(), catalogue=LIVE)

    def publish(self, name: str) -> int:
        now_s = time.time()
        with self.journal.write() as connection:
            lease = leases.acquire(connection, "learner", f"learner {now_s}", now_s=now_s, duration_s=60)
        assert lease is not None
        snapshot = Snapshots(self.journal).publish(
            lease,
            policy=name,
            position=1,
            features_schema="words-1",
            payload=build("factored").state(),
            created_at_s=now_s,
            check=lambda _: None,
        )
        with self.journal.write() as connection:
            leases.release(connection, lease)
        return snapshot.version


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_look_follows_the_live_policys_snapshots_without_any_experiment(watched: Watched) -> None:
    live = watched.deciders.in_use.live
    version = watched.publish("factored")
    watched.look()
    assert watched.deciders.in_use.live is live
    assert live.loaded.version == version


def test_look_gives_a_variant_that_is_the_live_policy_its_decider_and_others_one_of_their_own(watched: Watched) -> None:
    watched.run()
    watched.look()
    in_use = watched.deciders.in_use
    assert in_use.deciders["exp-1:a"] is in_use.live
    other = in_use.deciders["exp-1:b"]
    assert (other.snapshot_name, other.loaded.version) == ("exp-1:b", None)
    version = watched.publish("exp-1:b")
    watched.look()
    assert watched.deciders.in_use is in_use  # nothing changed but a snapshot
    assert (other.loaded.version, in_use.live.loaded.version) == (version, None)


def test_look_brings_a_variant_into_use_with_what_it_has_learned(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.run()
    version = watched.publish("exp-1:b")
    used: list[int | None] = []
    monkeypatch.setattr(watched.deciders, "use", lambda in_use: used.append(in_use.deciders["exp-1:b"].loaded.version))
    watched.look()
    assert used == [version]


def test_look_keeps_the_deciders_that_go_on(watched: Watched) -> None:
    watched.run(traffic=0.5)
    watched.look()
    before = watched.deciders.in_use
    watched.ledger.ramp("exp-1", "test", time.time(), traffic=0.7)
    watched.look()
    after = watched.deciders.in_use
    assert after is not before
    assert after.deciders["exp-1:b"] is before.deciders["exp-1:b"]
    watched.ledger.promote("exp-1", "b", "test", time.time(), force=True)
    watched.look()
    assert watched.deciders.in_use.live is before.deciders["exp-1:b"]
    assert watched.deciders.in_use.promoted_by == "exp-1"
    watched.ledger.roll_back("exp-1", "test", time.time(), reason="worse")
    watched.look()
    assert (watched.deciders.in_use.live.snapshot_name, watched.deciders.in_use.promoted_by) == ("factored", None)


def test_look_drops_what_is_stopped(watched: Watched) -> None:
    watched.run(variants=[*VARIANTS, {"name": "c", "policy": "uniform"}])
    watched.ledger.stop_variant("exp-1", "c", "test", time.time(), reason="no")
    watched.look()
    assert set(watched.deciders.in_use.deciders) == {"exp-1:a", "exp-1:b"}
    watched.ledger.stop("exp-1", "test", time.time(), reason="enough")
    watched.look()
    assert watched.deciders.in_use.running == ()
    assert watched.deciders.in_use.deciders == {}


def test_look_that_finds_the_journal_away_leaves_all_as_it_was_and_tells_faults_later(
    watched: Watched, tmp_path: Path
) -> None:
    watched.run()
    watched.look()
    before = watched.deciders.in_use
    watched.deciders.faults["exp-1", "b"] = "it raised"
    with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalAway):
            watched.look()
        other.execute("ROLLBACK")
    assert watched.deciders.in_use is before
    assert watched.deciders.faults == {("exp-1", "b"): "it raised"}
    watched.look()
    assert watched.ledger.experiment("exp-1").stopped_variants["b"].reason == "it raised"
    assert watched.deciders.faults == {}


def test_look_forgets_a_fault_of_what_is_not_there(watched: Watched) -> None:
    watched.deciders.faults["gone", "b"] = "it raised"
    watched.look()
    assert watched.deciders.faults == {}


def test_look_stops_a_variant_that_this_version_cannot_build(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.run(variants=[*VARIANTS, {"name": "c", "policy": "uniform"}])

    def old_build(name: str, options: Any = None) -> Any:
        if options == {"floor": 0.2}:
            raise UnknownPolicy("no option floor yet")
        return build(name, options)

    monkeypatch.setattr("serve.experiments_watch.build", old_build)
    watched.look()
    assert "exp-1:b" not in watched.deciders.in_use.deciders
    assert watched.deciders.choose("anybody", "dec_1", time.time()).variant in (None, "exp-1:a", "exp-1:c")
    watched.look()
    assert "no option floor yet" in watched.ledger.experiment("exp-1").stopped_variants["b"].reason


def test_look_keeps_the_catalogues_policy_where_the_promoted_one_cannot_be_built(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.run()
    watched.ledger.promote("exp-1", "b", "test", time.time(), force=True)

    def old_build(name: str, options: Any = None) -> Any:
        if options == {"floor": 0.2}:
            raise UnknownPolicy("no option floor yet")
        return build(name, options)

    monkeypatch.setattr("serve.experiments_watch.build", old_build)
    watched.look()
    assert (watched.deciders.in_use.live.snapshot_name, watched.deciders.in_use.promoted_by) == ("factored", None)


@pytest.mark.parametrize(("learns_from", "column"), [("own", "exp-1:b:live"), ("all", None)])
def test_look_marks_decisions_of_a_promoted_policy_that_learns_from_its_own_alone(
    watched: Watched, learns_from: str, column: str | None
) -> None:
    """Without the mark such a policy learned nothing more once it was live."""
    watched.run(variants=[VARIANTS[0], {**VARIANTS[1], "learns_from": learns_from}])
    assert watched.deciders.live().variant is None
    watched.ledger.promote("exp-1", "b", "test", time.time(), force=True)
    watched.look()
    assert watched.deciders.in_use.promoted_by == "exp-1"
    assert watched.deciders.live().variant == column
    watched.ledger.roll_back("exp-1", "test", time.time(), reason="so")
    watched.look()
    assert watched.deciders.live().variant is None
