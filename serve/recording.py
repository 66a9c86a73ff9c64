"""Rows of one request on their way into the journal, and the promise that an answer waits for them.

Declared behaviour without a journal: nothing that is acknowledged is ever unrecorded, so a request whose rows do not
become durable in time is refused with 503, and for a moment after that new requests are refused before any work.
What was refused so is withdrawn from the writer, so that no row says later that it was served.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from bandit import rows
from bandit.context import PromptFeatures
from bandit.errors import BadRow, BanditError, JournalError, RowConflict
from bandit.features import extract
from bandit.journal_writer import JournalWriter
from bandit.rows import DecisionRow, OutcomeRow, Row, SignalRow, Verdict

from .openai_errors import Refusal, unavailable
from .routing import Attempt

logger = logging.getLogger("ray.serve")

WAIT_S = 5.0  # for the journal, before a request is refused
BUSY_TIMEOUT_S = 2.0  # of one try to write, so that a commit under way ends soon
_LAST_COMMIT_S = BUSY_TIMEOUT_S + 0.5  # for that commit, after the wait is over
_REFUSED_AT_ONCE_S = 1.0  # after a row was given up

Written = Future[tuple[Verdict, ...]]


class Recorder:
    """Hands rows to the writer. `salt` keys the hashes of prompts, their words and callers.

    By default a prompt leaves its hash, the sorted keyed hashes of its words, and counts such as its length.
    """

    def __init__(
        self,
        writer: JournalWriter,
        salt: bytes,
        *,
        keep_prompts: bool = False,
        wait_s: float = WAIT_S,
        last_commit_s: float = _LAST_COMMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._salt = salt
        self._keep_prompts = keep_prompts
        self._wait_s = wait_s
        self._last_commit_s = last_commit_s
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

    @property
    def waiting_rows(self) -> int:
        """Rows taken and not yet durable."""
        return self._writer.waiting_rows

    def features(self, prompt: str, schema: str, vector: NDArray[np.float32] | None = None) -> PromptFeatures:
        """What the policy sees and the journal keeps of a prompt: no word of it, whatever `keep_prompts` says.

        A sentence `vector` tells what a prompt is about all the same; there is one only where the operator asked for
        it. Raises UnknownSchema, BadVector.
        """
        return extract(prompt, schema, key=self._salt, vector=vector)

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
        """Wait until the rows are on disk. Raises Refusal if that takes too long, SignalRefused as the journal does.

        Rows that were refused are withdrawn. A commit that is under way when the wait ends decides for itself: if it
        succeeds within `last_commit_s`, so does this. Only one that hangs for longer, as PostgreSQL's may behind a
        broken network, can still store rows of a refused request.
        """
        try:
            try:
                return await _all(written, self._wait_s)
            except TimeoutError:
                self._withdraw(written)
                return await _all(written, self._last_commit_s)
        except (BadRow, RowConflict):
            raise
        except (TimeoutError, JournalError) as error:
            self._withdraw(written)  # also those behind the one that failed
            raise self._noted_away(error) from error

    def _withdraw(self, written: Sequence[Written]) -> None:
        for future in written:
            self._writer.withdraw(future)

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


async def _all(written: Sequence[Written], wait_s: float) -> list[Verdict]:
    async with asyncio.timeout(wait_s):
        return [verdict for future in written for verdict in await asyncio.wrap_future(future)]


def attempt_rows(attempts: Sequence[Attempt]) -> tuple[rows.Attempt, ...]:
    """Attempts as the journal keeps them."""
    return tuple(rows.Attempt(attempt.arm, attempt.error, attempt.elapsed_s) for attempt in attempts)


def _away() -> Refusal:
    return unavailable(
        "The journal cannot be written, and nothing is served unrecorded. Try again in a moment.", "journal_unavailable"
    )
