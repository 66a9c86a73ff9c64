import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bandit import leases
from bandit.errors import LeaseLost, SnapshotRefused
from bandit.journal import Journal
from bandit.leases import Lease
from bandit.snapshots import KEPT, Snapshot, Snapshots
from bandit.tables import snapshots


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


@pytest.fixture
def lease(journal: Journal) -> Lease:
    with journal.write() as connection:
        lease = leases.acquire(connection, "learner", "a", now_s=0, duration_s=10)
    assert lease is not None
    return lease


def accept(payload: bytes) -> None:
    assert payload


def publish(journal: Journal, lease: Lease, position: int, policy: str = "vowpal", schema: str = "words-1") -> Snapshot:
    return Snapshots(journal).publish(
        lease,
        policy=policy,
        position=position,
        features_schema=schema,
        payload=b"\x00state %d" % position,
        created_at_s=float(position),
        check=accept,
    )


def damage(journal: Journal, version: int, **values: object) -> None:
    with journal.write() as connection:
        connection.execute(update(snapshots).where(snapshots.c.version == version).values(**values))


def test_newest_is_what_was_published_last(journal: Journal, lease: Lease) -> None:
    assert Snapshots(journal).newest("vowpal") is None
    publish(journal, lease, 1)
    last = publish(journal, lease, 2)
    assert Snapshots(journal).newest("vowpal") == last
    assert last.payload == b"\x00state 2"


def test_nothing_newer_is_none(journal: Journal, lease: Lease) -> None:
    first = publish(journal, lease, 1)
    assert Snapshots(journal).newest("vowpal", after_version=first.version) is None
    second = publish(journal, lease, 2)
    assert Snapshots(journal).newest("vowpal", after_version=first.version) == second


def test_policies_do_not_see_each_other(journal: Journal, lease: Lease) -> None:
    mine = publish(journal, lease, 1)
    other = publish(journal, lease, 2, policy="factored")
    assert Snapshots(journal).newest("vowpal") == mine
    assert Snapshots(journal).newest("factored") == other
    assert mine.version < other.version


def test_only_the_newest_few_of_each_policy_are_kept(journal: Journal, lease: Lease) -> None:
    other = publish(journal, lease, 1, policy="factored")
    for position in range(1, KEPT + 4):
        last = publish(journal, lease, position)
    with journal.read() as connection:
        kept = connection.execute(select(snapshots.c.policy, snapshots.c.position)).all()
    assert sorted(kept) == [("factored", 1)] + [("vowpal", position) for position in range(4, KEPT + 4)]
    assert last.version == KEPT + 4  # versions are never used again
    assert Snapshots(journal).newest("factored") == other


@pytest.mark.parametrize(
    "values",
    [
        {"payload": b"\x00state 3"},
        {"payload": b"\x00state "},
        {"payload": b""},
        {"position": 1},
        {"token": 9},
        {"features_schema": "words-2"},
        {"sha256": ""},
    ],
)
def test_damaged_row_is_skipped_for_the_last_good_one(
    journal: Journal, lease: Lease, values: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    good = publish(journal, lease, 1)
    bad = publish(journal, lease, 2)
    damage(journal, bad.version, **values)
    found = Snapshots(journal)
    with caplog.at_level(logging.WARNING):
        assert found.newest("vowpal") == good
        assert found.newest("vowpal") == good
    assert "SHA-256" in found.skipped[bad.version]
    assert len(caplog.records) == 1  # a gateway polls each second and must not fill the disk with this


def test_other_features_schema_is_skipped(journal: Journal, lease: Lease) -> None:
    good = publish(journal, lease, 1)
    other = publish(journal, lease, 2, schema="words-2")
    found = Snapshots(journal)
    assert found.newest("vowpal", features_schema="words-1") == good
    assert "words-2" in found.skipped[other.version]
    assert found.newest("vowpal", features_schema="words-2") == other


def test_state_that_fails_its_check_is_not_published(journal: Journal, lease: Lease) -> None:
    good = publish(journal, lease, 1)

    def refuse(payload: bytes) -> None:
        raise ValueError("not finite")

    with pytest.raises(SnapshotRefused, match="not finite"):
        Snapshots(journal).publish(
            lease,
            policy="vowpal",
            position=2,
            features_schema="words-1",
            payload=b"bad",
            created_at_s=2.0,
            check=refuse,
        )
    assert Snapshots(journal).newest("vowpal") == good


def test_stale_learner_publishes_nothing(journal: Journal, lease: Lease) -> None:
    with journal.write() as connection:
        leases.acquire(connection, "learner", "b", now_s=100, duration_s=10)
    with pytest.raises(LeaseLost):
        publish(journal, lease, 1)
    assert Snapshots(journal).newest("vowpal") is None
