from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bandit.appends import Result
from bandit.errors import UnknownDecision
from bandit.fake_traffic import FakeRequest, fake_request
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.rows import Row, SignalRow, Story, Verdict
from serve.openai_errors import Refusal
from serve.recording import Recorder, attempt_rows
from serve.routing import Attempt

SIGNAL = SignalRow("dec_nobody", "rating", "user", 0.5, 1.0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    made = JournalWriter(journal)
    yield made
    made.close()
    journal.close()


def test_hashed_depends_on_the_salt_and_hides_the_text(writer: JournalWriter) -> None:
    one, other = Recorder(writer, b"one"), Recorder(writer, b"other")
    assert one.hashed("two cats") == one.hashed("two cats") != other.hashed("two cats")
    assert len(one.hashed("ünïcode 🐈")) == 64


def test_prompt_is_kept_only_where_the_operator_asked_for_it(writer: JournalWriter) -> None:
    assert Recorder(writer, b"s").prompt("two cats") is None
    assert Recorder(writer, b"s", keep_prompts=True).prompt("two cats") == "two cats"


def test_durable_passes_on_what_the_journal_refuses(writer: JournalWriter) -> None:
    recorder = Recorder(writer, b"s")
    with pytest.raises(UnknownDecision):
        asyncio.run(recorder.durable(recorder.write(SIGNAL)))
    recorder.check()


def test_write_unawaited_counts_what_was_not_written(writer: JournalWriter) -> None:
    recorder = Recorder(writer, b"s")
    recorder.write_unawaited(SIGNAL)
    writer.close()
    assert recorder.lost_rows == 1
    recorder.write_unawaited(SIGNAL)
    assert recorder.lost_rows == 2


def test_write_to_a_closed_journal_refuses_and_check_refuses_for_a_moment(writer: JournalWriter) -> None:
    now_s = 100.0
    recorder = Recorder(writer, b"s", clock=lambda: now_s)
    writer.close()
    with pytest.raises(Refusal) as caught:
        recorder.write(SIGNAL)
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (503, "journal_unavailable", True)
    with pytest.raises(Refusal):
        recorder.check()
    now_s += 2
    recorder.check()


def test_attempt_rows_keep_order_and_errors() -> None:
    rows = attempt_rows([Attempt("a@x", "a", "died", 0.5), Attempt("b@x", "b", None, 0.1)])
    assert [(row.arm, row.error, row.elapsed_s) for row in rows] == [("a@x", "died", 0.5), ("b@x", None, 0.1)]


class Blocked:
    """A journal whose commits wait until they may end, as behind a lock."""

    def __init__(self, directory: Path) -> None:
        self.journal = Journal.open(f"sqlite:///{directory}/journal.db")
        self.may_end = threading.Event()
        self.begun = threading.Event()

    def append(self, rows: Sequence[Row]) -> list[Result]:
        self.begun.set()
        assert self.may_end.wait(30)
        return self.journal.append(rows)

    def story(self, request: FakeRequest) -> Story | None:
        return self.journal.read_decision(request.decision.decision_id)


def test_an_outcome_that_was_refused_is_not_written_later(tmp_path: Path) -> None:
    blocked, request, other = Blocked(tmp_path), fake_request(1), fake_request(2)
    blocked.journal.append_decision(request.decision)
    with JournalWriter(blocked) as writer:  # type: ignore[arg-type]
        recorder = Recorder(writer, b"s", wait_s=0.05, last_commit_s=0.05)
        recorder.write(other.decision)
        assert blocked.begun.wait(30)  # somebody else's rows are being written; these wait behind them
        with pytest.raises(Refusal):
            asyncio.run(recorder.durable(recorder.write(request.outcome)))
        blocked.may_end.set()
    story = blocked.story(request)
    assert story is not None
    assert story.outcome is None
    assert blocked.story(other) is not None
    blocked.journal.close()


def test_a_commit_under_way_decides_whether_the_wait_succeeded(tmp_path: Path) -> None:
    blocked, request = Blocked(tmp_path), fake_request(1)

    async def play(recorder: Recorder) -> list[Verdict]:
        written = recorder.write(request.decision)
        assert blocked.begun.wait(30)
        asyncio.get_running_loop().call_later(0.2, blocked.may_end.set)
        return await recorder.durable(written)

    with JournalWriter(blocked) as writer:  # type: ignore[arg-type]
        assert asyncio.run(play(Recorder(writer, b"s", wait_s=0.05, last_commit_s=20))) == [Verdict.ACCEPTED]
    assert blocked.story(request) is not None
    blocked.journal.close()
