from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from bandit import leases
from bandit.errors import LeaseLost
from bandit.journal import Journal
from bandit.leases import Lease
from bandit.tables import bad_records


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def acquire(journal: Journal, holder: str, now_s: float) -> Lease | None:
    with journal.write() as connection:
        return leases.acquire(connection, "learner", holder, now_s=now_s, duration_s=10)


def held(journal: Journal, holder: str, now_s: float) -> Lease:
    lease = acquire(journal, holder, now_s)
    assert lease is not None
    return lease


def test_first_comer_holds_it_and_the_second_waits(journal: Journal) -> None:
    assert held(journal, "a", 100).token == 1
    assert acquire(journal, "b", 100) is None
    assert acquire(journal, "b", 109.999) is None


def test_a_restarted_holder_of_the_same_name_waits_too(journal: Journal) -> None:
    """It cannot know whether its predecessor, with a token of its own, is dead or merely slow."""
    held(journal, "a", 100)
    assert acquire(journal, "a", 101) is None


def test_token_grows_at_each_take_over(journal: Journal) -> None:
    assert [held(journal, holder, now_s).token for holder, now_s in (("a", 0), ("b", 10), ("a", 20))] == [1, 2, 3]


def test_leases_of_other_names_are_independent(journal: Journal) -> None:
    held(journal, "a", 0)
    with journal.write() as connection:
        assert leases.acquire(connection, "other", "b", now_s=0, duration_s=10) is not None


def test_renewed_lease_lasts_longer_with_the_same_token(journal: Journal) -> None:
    lease = held(journal, "a", 100)
    with journal.write() as connection:
        renewed = leases.renew(connection, lease, now_s=105, duration_s=10)
    assert renewed == replace(lease, expires_at_s=115)
    assert acquire(journal, "b", 112) is None
    assert held(journal, "b", 115).token == 2


def test_expired_lease_that_nobody_took_can_be_renewed(journal: Journal) -> None:
    lease = held(journal, "a", 100)
    with journal.write() as connection:
        assert leases.renew(connection, lease, now_s=500, duration_s=10).token == 1


def test_lost_lease_cannot_be_renewed(journal: Journal) -> None:
    stale = held(journal, "a", 100)
    held(journal, "b", 110)
    with pytest.raises(LeaseLost, match="b with token 2"), journal.write() as connection:
        leases.renew(connection, stale, now_s=111, duration_s=10)


def test_stale_holder_writes_nothing(journal: Journal) -> None:
    stale = held(journal, "a", 100)
    held(journal, "b", 110)

    def write() -> None:
        with journal.write() as connection:
            connection.execute(bad_records.insert().values(policy="p", position=1, decision_id="d", reason="r"))
            leases.check(connection, stale)

    with pytest.raises(LeaseLost):
        write()
    with journal.read() as connection:
        assert connection.execute(select(bad_records)).all() == []


def test_old_token_is_refused_though_the_holder_came_back(journal: Journal) -> None:
    stale = held(journal, "a", 100)
    held(journal, "b", 110)
    current = held(journal, "a", 120)
    with journal.write() as connection:
        leases.check(connection, current)
    with pytest.raises(LeaseLost), journal.write() as connection:
        leases.check(connection, stale)


def test_released_lease_is_free_at_once_and_tokens_go_on(journal: Journal) -> None:
    lease = held(journal, "a", 100)
    with journal.write() as connection:
        leases.release(connection, lease)
    assert held(journal, "b", 100).token == 2


def test_releasing_a_lost_lease_leaves_the_new_holder_alone(journal: Journal) -> None:
    stale = held(journal, "a", 100)
    held(journal, "b", 110)
    with journal.write() as connection:
        leases.release(connection, stale)
    assert acquire(journal, "c", 111) is None
