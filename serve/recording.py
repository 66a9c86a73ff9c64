"""Rows of one request on their way into the journal, and the promise that an answer waits for them.

Declared behaviour without a journal: nothing that is acknowledged is ever unrecorded, so a request whose rows do not
become durable in time is refused with 503, and for a moment after that new requests are refused before any work.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from bandit import rows
from bandit.errors import BadRow, BanditError, JournalError, RowConflict
from bandit.journal_writer import JournalWriter
from bandit.rows import DecisionRow, OutcomeRow, Row, SignalRow, Verdict

from .openai_errors import Refusal, unavailable
from .routing import Attempt

logger = logging.getLogger("ray.serve")

WAIT_S = 5.0  # for the journal, before a request is refused
_REFUSED_AT_ONCE_S = 1.0  # after a row was given up

Written = Future[tuple[Verdict, ...]]


class Recorder:
    """Hands rows to the writer. `salt` keys the hashes of prompts and callers; raw prompts stay out by default."""

    def __init__(
        self,
        writer: JournalWriter,
        salt: bytes,
        *,
        keep_prompts: bool = False,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._salt = salt
        self._keep_prompts = keep_prompts
        self._wait_s = wait_s
        self._clock = clock
        self._away_until_s = -1.0
        self.lost_rows = 0  # rows that nobody waited for and that were not written

    def check(self) -> None:
        """Refuse at once while the journal is known to be away. Raises Refusal."""
        if self._clock() < self._away_until_s:
            raise _away()

    def prompt(self, prompt: str) -> str | None:
        """The prompt where the operator keeps prompts, else None."""
        return prompt if self._keep_prompts else None

    def hashed(self, text: str) -> str:
        """A stable name of a text, which only holders of the salt can compare with others."""
        return hmac.new(self._salt, text.encode(), "sha256").hexdigest()

    def write(self, row: DecisionRow | OutcomeRow | SignalRow) -> Written:
        """Queue one row. Raises Refusal where none is taken now."""
        try:
            return self._writer.submit([row])
        except JournalError as error:
            if isinstance(error, BadRow):
                raise
            raise self._noted_away(error) from error

    async def durable(self, *written: Written) -> list[Verdict]:
        """Wait until the rows are on disk. Raises Refusal if that takes too long, SignalRefused as the journal does."""
        try:
            async with asyncio.timeout(self._wait_s):
                verdicts = [await asyncio.wrap_future(future) for future in written]
        except TimeoutError as error:
            raise self._noted_away(error) from error
        except (BadRow, RowConflict):
            raise
        except JournalError as error:
            raise self._noted_away(error) from error
        return [verdict for (verdict,) in verdicts]

    def write_unawaited(self, row: Row) -> None:
        """Queue a row that nobody waits for; what is not written is counted."""
        try:
            self._writer.submit([row]).add_done_callback(self._note_lost)
        except BanditError as error:
            self._lost(error)

    def _note_lost(self, written: Written) -> None:
        if (error := written.exception()) is not None:
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self.lost_rows += 1
        logger.warning("a row was not written: %s", error)

    def _noted_away(self, error: BaseException) -> Refusal:
        logger.error("journal: %s: %s", type(error).__name__, error)
        self._away_until_s = self._clock() + _REFUSED_AT_ONCE_S
        return _away()


def attempt_rows(attempts: Sequence[Attempt]) -> tuple[rows.Attempt, ...]:
    """Attempts as the journal keeps them."""
    return tuple(rows.Attempt(attempt.arm, attempt.error, attempt.elapsed_s) for attempt in attempts)


def _away() -> Refusal:
    return unavailable(
        "The journal cannot be written, and nothing is served unrecorded. Try again in a moment.", "journal_unavailable"
    )
