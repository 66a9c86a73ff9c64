from __future__ import annotations

import threading
import time
from pathlib import Path
from random import Random

import pytest

from bandit import leases
from bandit.experiments.state import LivePolicy
from bandit.factored import FactoredPolicy
from bandit.journal import Journal
from bandit.policies import build
from bandit.snapshots import Snapshots
from serve.deciding import Decider
from serve.load import LoadBoard
from serve.watch import ReplicasLook, SnapshotLook, Watch

POLICY = LivePolicy("factored", {}, "factored")


def publish(journal: Journal, payload: bytes, *, position: int) -> int:
    """As a learner of its own each time."""
    now_s = time.time()
    with journal.write() as connection:
        lease = leases.acquire(connection, "learner", f"learner {position}", now_s=now_s, duration_s=60)
    assert lease is not None
    snapshot = Snapshots(journal).publish(
        lease,
        policy="factored",
        position=position,
        features_schema="words-1",
        payload=payload,
        created_at_s=now_s,
        check=lambda _: None,
    )
    with journal.write() as connection:
        leases.release(connection, lease)
    return snapshot.version


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(f"sqlite:///{tmp_path}/journal.db")


def test_snapshot_look_swaps_in_the_newest(journal: Journal) -> None:
    decider = Decider(build("factored"), build("uniform"), Random(1))
    look = SnapshotLook(Snapshots(journal), POLICY, decider)
    look()
    assert decider.loaded.version is None
    version = publish(journal, build("factored").state(), position=1)
    look()
    assert decider.loaded.version == version
    before = decider.loaded
    look()
    assert decider.loaded is before


def test_snapshot_look_keeps_the_last_good_one_when_the_newest_is_bad(journal: Journal) -> None:
    decider = Decider(build("factored"), build("uniform"), Random(1))
    look = SnapshotLook(Snapshots(journal), POLICY, decider)
    good = publish(journal, build("factored").state(), position=1)
    publish(journal, b"not a state", position=2)
    look()
    assert decider.loaded.version == good
    newest = publish(journal, build("factored").state(), position=3)
    look()
    assert decider.loaded.version == newest


def test_snapshot_look_goes_on_when_a_policy_raises_whatever_over_a_snapshot(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look follows many policies: what one makes of its bytes must not stop the others."""
    decider = Decider(build("factored"), build("uniform"), Random(1))
    good = publish(journal, build("factored").state(), position=1)
    publish(journal, b"odd", position=2)
    restore = FactoredPolicy.restore

    def raising(self: FactoredPolicy, state: bytes) -> None:
        if state == b"odd":
            raise ZeroDivisionError
        restore(self, state)

    monkeypatch.setattr(FactoredPolicy, "restore", raising)
    SnapshotLook(Snapshots(journal), POLICY, decider)()
    assert decider.loaded.version == good


def test_replicas_look_leaves_out_what_nobody_knows() -> None:
    class Counts:
        def __init__(self, count: int | None) -> None:
            self.count = count

        def running_replicas(self) -> int | None:
            return self.count

    board = LoadBoard([], failures=1, cooldown_s=1, clock=time.monotonic)
    ReplicasLook(board, {"gone": Counts(0), "many": Counts(3), "unknown": Counts(None)})()
    assert (board.replicas("gone"), board.replicas("many"), board.replicas("unknown")) == (0, 3, 1)


def test_watch_goes_on_after_an_error() -> None:
    looks = 0
    enough = threading.Event()

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            enough.set()
        raise ValueError("not now")

    watch = Watch("test", look, 0.001)
    assert enough.wait(30)
    watch.stop()
