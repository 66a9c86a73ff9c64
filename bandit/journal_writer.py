"""The background writer: rows of many requests share one commit, and callers wait for a future instead of the disk.

    writer = JournalWriter(journal)
    verdicts = await asyncio.wrap_future(writer.submit([decision_row]))     # durable now

One thread takes what is queued, writes it in one transaction and resolves the futures. While the database is away the
rows wait and are tried again; nothing is dropped silently: a row is durable, or its future says why not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from .errors import BanditError, JournalAway, JournalBusy, JournalClosed
from .journal import Journal
from .rows import Row, Verdict, checked

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Submission:
    rows: tuple[Row, ...]
    future: Future[tuple[Verdict, ...]]
    deadline_s: float


class JournalWriter:
    """Group commit for one journal. `submit` from any thread; `close` when done, or use it as a context manager."""

    def __init__(
        self,
        journal: Journal,
        *,
        queued_rows: int = 10_000,
        group_rows: int = 500,
        patience_s: float = 60.0,
        first_pause_s: float = 0.05,
        longest_pause_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queued_rows` bounds the rows not yet durable, `group_rows` those of one commit (no submission is split).

        While the database is away each row is kept for `patience_s`; the pauses between tries double from
        `first_pause_s` to `longest_pause_s`.
        """
        self._journal = journal
        self._queued_rows = queued_rows
        self._group_rows = group_rows
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._clock = clock
        self._queue: deque[_Submission] = deque()
        self._withdrawn: set[Future[tuple[Verdict, ...]]] = set()
        self._waiting_rows = 0  # queued, or in the group that is being written
        self._closing_by_s: float | None = None
        self._changed = threading.Condition()
        # A daemon: a program that forgets close() still ends. Whoever had no answer by then was promised nothing.
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Row]) -> Future[tuple[Verdict, ...]]:
        """Queue rows for the next commit. The future gives one verdict per row, once they are durable.

        Raises at once: BadRow or OutOfRange for a row that can never be stored, JournalBusy, JournalClosed; then none
        of the rows was taken. The future raises RowConflict, BadRow or a SignalRefused if a row was refused (the
        others are stored), JournalAway if the database stayed away. Cancelling the future changes nothing: the rows
        are written; `withdraw` is for those that must not be.
        """
        ready = tuple(checked(row) for row in rows)
        future: Future[tuple[Verdict, ...]] = Future()
        future.set_running_or_notify_cancel()  # a client that hangs up must not take its decision out of the journal
        if not ready:
            future.set_result(())
            return future
        with self._changed:
            if self._closing_by_s is not None:
                raise JournalClosed("the journal's writer was closed; no more rows are taken")
            if self._waiting_rows + len(ready) > self._queued_rows:
                raise JournalBusy(
                    f"{self._waiting_rows} rows wait to be written and {len(ready)} more were given; "
                    f"at most {self._queued_rows} may wait. Try again later."
                )
            self._waiting_rows += len(ready)
            self._queue.append(_Submission(ready, future, self._clock() + self._patience_s))
            self._changed.notify()
        return future

    def withdraw(self, written: Future[tuple[Verdict, ...]]) -> None:
        """Write these rows no more: `written`, from `submit`, fails with JournalAway before the next try.

        A commit that holds them and is under way cannot be called back: wait for `written` to know how it ended.
        """
        with self._changed:
            if not written.done():
                self._withdrawn.add(written)
                self._changed.notify()

    @property
    def waiting_rows(self) -> int:
        """Rows taken and not yet durable: a gauge of how far the database lags."""
        return self._waiting_rows

    def close(self, *, flush_s: float = 10.0) -> None:
        """Write what is queued and end the thread. What is not durable after `flush_s` fails with JournalAway."""
        with self._changed:
            if self._closing_by_s is None:
                self._closing_by_s = self._clock() + flush_s
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        pause_s = self._first_pause_s
        group: list[_Submission] = []
        while self._collect(group):
            try:
                results = self._journal.append([row for submission in group for row in submission.rows])
            except JournalAway as error:
                _log.warning("journal: %d rows wait, next try in %.2f s: %s", self._waiting_rows, pause_s, error)
                group = self._still_patient(group, error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, self._longest_pause_s)
                continue
            except Exception as error:  # noqa: BLE001 - handed to the callers; the thread must outlive its groups
                _log.exception("journal: a group of rows failed")
                results = [_as_failure(error)] * sum(len(submission.rows) for submission in group)
            pause_s = self._first_pause_s
            answers = iter(results)
            for submission in group:
                self._answer(submission, [next(answers) for _ in submission.rows])
            group = []

    def _collect(self, group: list[_Submission]) -> bool:
        """Fill the group from the queue, waiting for the first; False when all is written and the writer is closed."""
        with self._changed:
            self._drop_withdrawn(group)
            while not group and not self._queue:
                if self._closing_by_s is not None:
                    return False
                self._changed.wait()
                self._drop_withdrawn(group)
            size = sum(len(submission.rows) for submission in group)
            while self._queue and (not group or size + len(self._queue[0].rows) <= self._group_rows):
                submission = self._queue.popleft()
                group.append(submission)
                size += len(submission.rows)
        return True

    def _drop_withdrawn(self, group: list[_Submission]) -> None:
        """Take what was withdrawn out of the group and the queue. To be called with the lock held."""
        if not self._withdrawn:
            return
        dropped = [submission for submission in (*group, *self._queue) if submission.future in self._withdrawn]
        group[:] = [submission for submission in group if submission.future not in self._withdrawn]
        self._queue = deque(submission for submission in self._queue if submission.future not in self._withdrawn)
        self._withdrawn.clear()  # the others were answered meanwhile
        for submission in dropped:
            self._fail(submission, JournalAway("the rows were withdrawn before they were written"))

    def _still_patient(self, group: list[_Submission], error: JournalAway) -> list[_Submission]:
        """The submissions to try again; the future of each that waited long enough gets the error."""
        now_s = self._clock()
        closing_by_s = self._closing_by_s
        given_up = closing_by_s is not None and now_s >= closing_by_s
        if given_up:
            with self._changed:
                group = [*group, *self._queue]
                self._queue.clear()
        kept = []
        for submission in group:
            if given_up or now_s >= submission.deadline_s:
                self._fail(submission, error)
            else:
                kept.append(submission)
        return kept

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            if self._closing_by_s is not None:
                self._changed.wait(min(self._first_pause_s, max(0.0, self._closing_by_s - self._clock())))
            else:
                self._changed.wait_for(lambda: self._closing_by_s is not None or bool(self._withdrawn), pause_s)

    def _answer(self, submission: _Submission, results: list[Verdict | BanditError]) -> None:
        refusal = next((result for result in results if isinstance(result, BanditError)), None)
        if refusal is not None:
            self._fail(submission, refusal)
            return
        self._forget(submission)
        submission.future.set_result(tuple(result for result in results if isinstance(result, Verdict)))

    def _fail(self, submission: _Submission, error: BanditError) -> None:
        self._forget(submission)
        submission.future.set_exception(error)

    def _forget(self, submission: _Submission) -> None:
        with self._changed:
            self._waiting_rows -= len(submission.rows)


def _as_failure(error: Exception) -> BanditError:
    failure = JournalAway(f"the rows could not be written: {error!r}; whether they are stored is unknown")
    failure.__cause__ = error
    return failure
