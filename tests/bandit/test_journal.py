import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text

from bandit.errors import BadJournalUrl, BadRow, JournalAway, RowConflict, UnknownDecision
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.rows import Attempt, Verdict, storable
from bandit.tables import decisions, open_joins


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db", busy_timeout_s=0.2)
    yield journal
    journal.close()


def test_story_reads_back_as_written(journal: Journal) -> None:
    request = fake_request(1)
    decision = replace(request.decision, prompt="a cat, «ünïcode» 🐈", seed=2**63 - 1, snapshot_version=7)
    assert journal.append_decision(decision) is Verdict.ACCEPTED
    assert journal.append_outcome(request.outcome) is Verdict.ACCEPTED
    assert request.quality is not None
    assert journal.append_signal(request.quality) is Verdict.ACCEPTED

    story = journal.read_decision(decision.decision_id)

    assert story is not None
    assert story.decision == decision
    assert story.outcome == request.outcome
    assert story.signals == (request.quality,)
    assert story.join is None


def test_mappings_keep_their_order(journal: Journal) -> None:
    decision = fake_request(1).decision
    journal.append_decision(decision)
    story = journal.read_decision(decision.decision_id)
    assert story is not None
    assert list(story.decision.decision.probabilities) == list(decision.decision.probabilities)
    assert list(story.decision.context.features.numeric) == list(decision.context.features.numeric)


def test_unknown_decision_reads_as_none(journal: Journal) -> None:
    assert journal.read_decision("nobody") is None


def test_same_row_again_is_a_duplicate_and_counts_once(journal: Journal) -> None:
    request = fake_request(1)
    rows = [request.decision, request.outcome]
    assert journal.append(rows) == [Verdict.ACCEPTED] * 2
    assert journal.append(rows) == [Verdict.DUPLICATE] * 2
    assert journal.append([request.decision, request.decision]) == [Verdict.DUPLICATE] * 2
    with journal.read() as connection:
        assert len(connection.execute(select(decisions)).all()) == 1
        assert len(connection.execute(select(open_joins)).all()) == 1


def test_second_outcome_is_refused_and_the_first_stays(journal: Journal) -> None:
    request = fake_request(1)
    journal.append([request.decision, request.outcome])
    with pytest.raises(RowConflict, match=r"latency_s.*first one stays"):
        journal.append_outcome(replace(request.outcome, latency_s=99.0))
    story = journal.read_decision(request.decision.decision_id)
    assert story is not None
    assert story.outcome == request.outcome


def test_outcome_of_unknown_decision_is_refused(journal: Journal) -> None:
    with pytest.raises(BadRow, match="append the decision first"):
        journal.append_outcome(fake_request(1).outcome)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_s": math.inf}, "finite"),
        ({"latency_s": math.nan}, "finite"),
        ({"cost_usd": -1.0}, "at least 0"),
        ({"status": "lost"}, "served, failed"),
        ({"served_arm": None}, "what was served has an arm"),
        ({"decision_id": "a b"}, "letters"),
        ({"decision_id": ""}, "letters"),
        ({"decision_id": "d\ud800"}, "letters"),
    ],
)
def test_outcome_with_impossible_value_is_refused(journal: Journal, change: dict[str, object], message: str) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served")
    journal.append_decision(request.decision)
    with pytest.raises(BadRow, match=message):
        journal.append_outcome(replace(request.outcome, **change))


def test_decision_with_propensity_zero_is_refused(journal: Journal) -> None:
    row = fake_request(1).decision
    with pytest.raises(BadRow, match="above 0"):
        journal.append_decision(replace(row, decision=replace(row.decision, propensity=0.0)))


def test_seed_beyond_64_bits_is_refused_by_name(journal: Journal) -> None:
    with pytest.raises(BadRow, match=r"decisions\.seed"):
        journal.append_decision(replace(fake_request(1).decision, seed=2**63))


@pytest.mark.parametrize("poison", ["a\x00b", "a\ud800b", "\udfff", "\x00"])
def test_text_that_no_database_takes_is_made_storable(journal: Journal, poison: str) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.outcome.status == "failed")
    journal.append_decision(replace(request.decision, prompt=poison, model_requested=poison))
    journal.append_outcome(replace(request.outcome, attempts=(Attempt("gan@standard", poison, 0.1),)))
    story = journal.read_decision(request.decision.decision_id)
    assert story is not None
    assert story.outcome is not None
    expected = poison.replace("\x00", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    assert story.decision.prompt == story.decision.model_requested == expected
    assert story.outcome.attempts[0].error == expected


def test_storable_keeps_what_can_be_stored() -> None:
    assert storable("plain") == "plain"
    assert storable("ünï 🐈 \n|:") == "ünï 🐈 \n|:"


def test_row_that_passes_the_check_but_not_the_database_fails_alone(journal: Journal) -> None:
    first, poisoned, last = (fake_request(number) for number in range(3))
    features = replace(poisoned.decision.context.features, numeric={"words": math.nan})
    context = replace(poisoned.decision.context, features=features)
    results = journal.append(
        [
            first.decision,
            replace(poisoned.decision, context=context),
            poisoned.outcome,
            last.outcome,
            last.decision,
        ]
    )
    assert isinstance(results[1], BadRow)
    assert isinstance(results[2], BadRow)  # its decision is not there
    assert [results[0], results[3], results[4]] == [Verdict.ACCEPTED] * 3
    assert journal.read_decision(first.decision.decision_id) is not None
    assert journal.read_decision(poisoned.decision.decision_id) is None


def test_rows_survive_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    first = Journal.open(url)
    first.append_decision(fake_request(1).decision)
    first.close()
    second = Journal.open(url)
    assert second.read_decision(fake_request(1).decision.decision_id) is not None
    second.close()


def test_sqlite_is_durable_and_checks_keys(journal: Journal) -> None:
    with journal.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_many_threads_append_at_once(tmp_path: Path) -> None:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db", busy_timeout_s=30.0)
    failures: list[BaseException] = []

    def append(start: int) -> None:
        try:
            for number in range(start, start + 10):
                request = fake_request(number)
                assert journal.append([request.decision, request.outcome]) == [Verdict.ACCEPTED] * 2
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=append, args=(100 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with journal.read() as connection:
        assert len(connection.execute(select(decisions)).all()) == 60
    journal.close()


def test_many_processes_worth_of_opens_at_once(tmp_path: Path) -> None:
    """Creating tables and entering WAL mode raced and one of them failed with 'database is locked'."""
    failures: list[BaseException] = []

    def open_and_close() -> None:
        try:
            Journal.open(f"sqlite:///{tmp_path}/journal.db").close()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_locked_database_is_away_and_a_later_call_works(journal: Journal) -> None:
    row = fake_request(1).decision
    with journal.write(), pytest.raises(JournalAway, match="safe to try again"):
        journal.append_decision(row)
    assert journal.append_decision(row) is Verdict.ACCEPTED


def test_readers_do_not_wait_for_a_writer(journal: Journal) -> None:
    journal.append_decision(fake_request(1).decision)
    with journal.write():
        assert journal.read_decision(fake_request(1).decision.decision_id) is not None
        assert journal.health().reachable


def test_health_tells_a_database_that_is_gone(tmp_path: Path) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    journal = Journal.open(f"sqlite:///{directory}/journal.db")
    assert journal.health().reachable
    journal.close()
    directory.rename(tmp_path / "elsewhere")
    health = journal.health()
    assert not health.reachable
    assert health.detail is not None


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "nonsense"]
)
def test_url_that_cannot_hold_a_journal_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadJournalUrl, match="allowed: sqlite") as caught:
        Journal.open(url)
    assert "secret" not in str(caught.value)


def test_unreachable_directory_is_away(tmp_path: Path) -> None:
    with pytest.raises(JournalAway):
        Journal.open(f"sqlite:///{tmp_path}/missing/journal.db", busy_timeout_s=0.0)


def test_journal_of_another_version_is_refused_and_not_taken_for_one_that_is_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url)
    with journal.write() as connection:
        connection.execute(text("DROP INDEX open_joins_due"))
        connection.execute(text("ALTER TABLE open_joins DROP COLUMN since_s"))
    journal.close()
    with pytest.raises(BadJournalUrl, match="open_joins has no column since_s; move it away"):
        Journal.open(url)


def test_signal_for_unknown_decision_names_it(journal: Journal) -> None:
    signal = fake_request(1).quality
    assert signal is not None
    with pytest.raises(UnknownDecision, match=signal.decision_id):
        journal.append_signal(signal)
