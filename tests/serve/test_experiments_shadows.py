from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bandit.context import Decision
from bandit.errors import JournalAway
from bandit.experiments.shadow import ShadowRow
from bandit.journal import Journal
from serve.experiments_shadows import ShadowLog


def row(number: int, probability: float = 0.5) -> ShadowRow:
    decision = Decision("a@p", probability, {"a@p": probability, "b@p": 0.5})
    return ShadowRow(f"dec_{number}", "exp-1:b", 100.0 + number, "uniform", None, decision)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(f"sqlite:///{tmp_path}/journal.db", busy_timeout_s=0.05)


def stored(tmp_path: Path) -> list[str]:
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        return [one for (one,) in connection.execute("SELECT decision_id FROM shadow_decisions ORDER BY created_at_s")]


def test_flush_writes_all_rows_once(journal: Journal, tmp_path: Path) -> None:
    log = ShadowLog(journal)
    for number in range(1200):  # more than two groups
        log.add(row(number))
    log.flush()
    log.flush()
    assert stored(tmp_path) == [f"dec_{number}" for number in range(1200)]


def test_flush_keeps_the_rows_while_the_journal_is_away(journal: Journal, tmp_path: Path) -> None:
    log = ShadowLog(journal)
    log.add(row(1))
    with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalAway):
            log.flush()
        other.execute("ROLLBACK")
    log.add(row(2))
    log.flush()
    assert stored(tmp_path) == ["dec_1", "dec_2"]


def test_flush_leaves_out_the_row_that_cannot_be_stored(journal: Journal, tmp_path: Path) -> None:
    log = ShadowLog(journal)
    for one in (row(1), row(2, probability=0.9), row(3)):
        log.add(one)
    log.flush()
    assert stored(tmp_path) == ["dec_1", "dec_3"]
    assert log.lost_rows == 1


def test_add_counts_what_does_not_fit(journal: Journal, tmp_path: Path) -> None:
    log = ShadowLog(journal, kept_rows=2)
    for number in range(3):
        log.add(row(number))
    assert log.lost_rows == 1
    log.flush()
    assert stored(tmp_path) == ["dec_0", "dec_1"]
