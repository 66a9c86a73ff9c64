import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bandit.appends import Result
from bandit.errors import BadRow, Contradiction, JournalAway, JournalBusy, JournalClosed, OutOfRange
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.rows import Row, Verdict
from bandit.tables import decisions, outcomes


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db", busy_timeout_s=0.02)
    yield journal
    journal.close()


class Gate:
    """A journal whose appends wait until the gate is open, and that counts its transactions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.open = threading.Event()
        self.groups: list[int] = []

    def append(self, rows: Sequence[Row]) -> list[Result]:
        assert self.open.wait(30)
        self.groups.append(len(rows))
        return self._journal.append(rows)


def count(journal: Journal) -> int:
    with journal.read() as connection:
        return connection.scalar(select(func.count()).select_from(decisions)) or 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_future_resolves_after_the_commit(journal: Journal) -> None:
    request = fake_request(1)
    with JournalWriter(journal) as writer:
        assert writer.submit([request.decision, request.outcome]).result(30) == (Verdict.ACCEPTED, Verdict.ACCEPTED)
        assert journal.read_decision(request.decision.decision_id) is not None
        assert writer.submit([request.decision]).result(30) == (Verdict.DUPLICATE,)
        assert writer.submit([]).result(30) == ()


def test_future_can_be_awaited(journal: Journal) -> None:
    async def ask(writer: JournalWriter) -> tuple[Verdict, ...]:
        return await asyncio.wrap_future(writer.submit([fake_request(1).decision]))

    with JournalWriter(journal) as writer:
        assert asyncio.run(ask(writer)) == (Verdict.ACCEPTED,)


def test_cancelled_wait_still_writes_the_row(journal: Journal) -> None:
    """A client that hangs up cancels the task that awaits the future; its decision happened all the same."""
    gate = Gate(journal)

    async def ask(writer: JournalWriter) -> None:
        waiting = asyncio.wrap_future(writer.submit([fake_request(1).decision]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with JournalWriter(gate) as writer:  # type: ignore[arg-type]
        asyncio.run(ask(writer))
        gate.open.set()
    assert count(journal) == 1


def test_rows_queued_during_a_commit_share_the_next(journal: Journal) -> None:
    gate = Gate(journal)
    with JournalWriter(gate, group_rows=50) as writer:  # type: ignore[arg-type]
        futures = [writer.submit([fake_request(0).decision])]
        wait_until(lambda: not writer._queue)  # the thread has taken the first and stands at the gate
        futures += [writer.submit([fake_request(number).decision]) for number in range(1, 121)]
        gate.open.set()
        assert all(future.result(30) == (Verdict.ACCEPTED,) for future in futures)
    assert gate.groups == [1, 50, 50, 20]
    assert count(journal) == 121


def test_submission_larger_than_a_group_is_written_whole(journal: Journal) -> None:
    with JournalWriter(journal, group_rows=10) as writer:
        verdicts = writer.submit([fake_request(number).decision for number in range(25)]).result(30)
    assert verdicts == (Verdict.ACCEPTED,) * 25


def test_full_queue_says_so_and_takes_nothing(journal: Journal) -> None:
    gate = Gate(journal)
    with JournalWriter(gate, queued_rows=3) as writer:  # type: ignore[arg-type]
        taken = [writer.submit([fake_request(number).decision]) for number in range(3)]
        with pytest.raises(JournalBusy, match="at most 3"):
            writer.submit([fake_request(3).decision])
        assert writer.waiting_rows == 3
        gate.open.set()
        for future in taken:
            future.result(30)
        assert writer.waiting_rows == 0
        writer.submit([fake_request(3).decision]).result(30)
    assert count(journal) == 4


def test_refused_row_fails_only_its_own_submission(journal: Journal) -> None:
    gate = Gate(journal)
    request = next(r for r in map(fake_request, range(100)) if r.rating)
    assert request.rating is not None
    poisoned = fake_request(200).decision
    features = replace(poisoned.context.features, numeric={"words": float("nan")})
    poisoned = replace(poisoned, context=replace(poisoned.context, features=features))
    with JournalWriter(gate) as writer:  # type: ignore[arg-type]
        futures = [
            writer.submit([request.decision]),
            writer.submit([poisoned]),
            writer.submit([request.rating]),
            writer.submit([replace(request.rating, value=0.25)]),
            writer.submit([request.outcome]),
        ]
        gate.open.set()
        assert futures[0].result(30) == futures[2].result(30) == futures[4].result(30) == (Verdict.ACCEPTED,)
        assert isinstance(futures[1].exception(30), BadRow)
        assert isinstance(futures[3].exception(30), Contradiction)


def test_row_that_can_never_be_stored_is_refused_at_once(journal: Journal) -> None:
    request = next(r for r in map(fake_request, range(100)) if r.rating)
    assert request.rating is not None
    with JournalWriter(journal) as writer:
        with pytest.raises(OutOfRange):
            writer.submit([request.decision, replace(request.rating, value=float("inf"))])
        with pytest.raises(BadRow):
            writer.submit([replace(request.decision, decision_id="\x00")])
        assert writer.waiting_rows == 0
    assert count(journal) == 0


def test_rows_wait_while_the_database_is_locked(journal: Journal) -> None:
    with JournalWriter(journal, first_pause_s=0.01, longest_pause_s=0.02) as writer:
        with journal.write():
            futures = [writer.submit([fake_request(number).decision]) for number in range(20)]
            time.sleep(0.2)  # several tries fail meanwhile
            assert not any(future.done() for future in futures)
        assert all(future.result(30) == (Verdict.ACCEPTED,) for future in futures)
    assert count(journal) == 20


def test_rows_fail_loudly_when_the_database_stays_away(journal: Journal) -> None:
    with JournalWriter(journal, first_pause_s=0.01, longest_pause_s=0.02, patience_s=0.1) as writer:
        with journal.write():
            first = writer.submit([fake_request(1).decision])
            assert isinstance(first.exception(30), JournalAway)
        assert writer.waiting_rows == 0
        assert writer.submit([fake_request(2).decision]).result(30) == (Verdict.ACCEPTED,)
    assert count(journal) == 1


def test_unexpected_error_fails_its_group_and_the_writer_lives_on(journal: Journal) -> None:
    class Broken:
        def __init__(self) -> None:
            self.broken = True

        def append(self, rows: Sequence[Row]) -> list[Result]:
            if self.broken:
                self.broken = False
                raise KeyError("bug")
            return journal.append(rows)

    with JournalWriter(Broken()) as writer:  # type: ignore[arg-type]
        assert isinstance(writer.submit([fake_request(1).decision]).exception(30), JournalAway)
        assert writer.submit([fake_request(1).decision]).result(30) == (Verdict.ACCEPTED,)


def test_close_writes_what_is_queued(journal: Journal) -> None:
    gate = Gate(journal)
    writer = JournalWriter(gate, group_rows=10)  # type: ignore[arg-type]
    futures = [writer.submit([fake_request(number).decision]) for number in range(55)]
    gate.open.set()
    writer.close()
    assert all(future.done() for future in futures)
    assert count(journal) == 55
    with pytest.raises(JournalClosed):
        writer.submit([fake_request(99).decision])
    writer.close()  # twice is once


def test_close_gives_up_on_a_database_that_stays_away_and_says_so(journal: Journal) -> None:
    writer = JournalWriter(journal, group_rows=5, first_pause_s=0.01, longest_pause_s=0.02)
    with journal.write():
        futures = [writer.submit([fake_request(number).decision]) for number in range(20)]
        writer.close(flush_s=0.1)
    assert all(isinstance(future.exception(0), JournalAway) for future in futures)
    assert writer.waiting_rows == 0


def test_many_threads_submit_and_nothing_is_lost_or_doubled(journal: Journal) -> None:
    futures: list[Future[tuple[Verdict, ...]]] = []

    def submit(start: int) -> None:
        for number in range(start, start + 100):
            request = fake_request(number)
            futures.append(writer.submit([request.decision]))
            futures.append(writer.submit([request.outcome]))

    with JournalWriter(journal, group_rows=64) as writer:
        threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(future.result(0) == (Verdict.ACCEPTED,) for future in futures)
    assert count(journal) == 400
    with journal.read() as connection:
        assert connection.scalar(select(func.count()).select_from(outcomes)) == 400


def test_withdrawn_rows_are_not_written_unless_their_commit_is_under_way(journal: Journal) -> None:
    gate = Gate(journal)
    with JournalWriter(gate) as writer:  # type: ignore[arg-type]
        begun = writer.submit([fake_request(1).decision])
        wait_until(lambda: not writer._queue)  # the thread has taken it and stands at the gate
        queued, kept = (writer.submit([fake_request(number).decision]) for number in (2, 3))
        writer.withdraw(begun)
        writer.withdraw(queued)
        gate.open.set()
        assert begun.result(30) == kept.result(30) == (Verdict.ACCEPTED,)
        assert isinstance(queued.exception(30), JournalAway)
        assert writer.waiting_rows == 0
    assert count(journal) == 2


def test_withdrawn_rows_are_not_tried_again(journal: Journal) -> None:
    blocker = journal.write()
    blocker.__enter__()
    with JournalWriter(journal, first_pause_s=30, longest_pause_s=30) as writer:
        written = writer.submit([fake_request(1).decision])
        wait_until(lambda: not writer._queue)
        writer.withdraw(written)
        assert isinstance(written.exception(20), JournalAway)
        blocker.__exit__(None, None, None)
    assert count(journal) == 0
