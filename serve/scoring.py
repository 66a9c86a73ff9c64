"""Scores after the answer: images wait in a bounded queue for the scorer, and their score becomes a signal.

If more come than the scorer can rate, some are dropped at random and counted, so that what is learned from stays a
fair sample of the traffic. A missing quality is no error: its join
closes with the catalogue's default.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

logger = logging.getLogger("ray.serve")

ScoreCall = Callable[[Sequence[np.ndarray], str], Awaitable[Sequence[float]]]  # images and their prompt -> [0, 1] each
QUEUED = 64
BATCH = 8  # decisions that the scorer rates at once; so many calls run side by side, or no batch would fill
FAILING_IN_A_ROW = 3
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class ToScore:
    """The images of one decision. Held in memory only, and not for long."""

    decision_id: str
    prompt: str
    images: tuple[np.ndarray, ...]


class Scoring:
    """A queue in front of the scorer. `note(decision_id, quality)` gets the mean score of a decision's images."""

    def __init__(self, score: ScoreCall, note: Callable[[str, float], None], rng: Random | None = None) -> None:
        self._score = score
        self._note = note
        self._rng = rng or Random()
        self._queue: deque[ToScore] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self.dropped = 0  # there was no room
        self.failed = 0  # the scorer was away, late, or could not
        self._failed_in_a_row = 0

    @property
    def waiting(self) -> int:
        """Decisions in the queue."""
        return len(self._queue)

    @property
    def failing(self) -> bool:
        """Whether the newest calls all failed."""
        return self._failed_in_a_row >= FAILING_IN_A_ROW

    def add(self, job: ToScore) -> None:
        """Queue one decision. To be called on the event loop; returns at once."""
        if len(self._queue) >= QUEUED:
            self.dropped += 1
            loser = self._rng.randrange(len(self._queue) + 1)  # the last is the new one itself
            if loser == len(self._queue):
                return
            del self._queue[loser]
        self._queue.append(job)
        if len(self._workers) < BATCH:
            # A context of its own: Ray Serve cancels whatever belongs to a request when that request ends.
            task = asyncio.get_running_loop().create_task(self._work(), context=contextvars.Context())
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def drain(self) -> None:
        """Wait until the queue is empty and all workers are done."""
        while self._workers:
            await asyncio.gather(*self._workers)

    async def _work(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    scores = await self._score(job.images, job.prompt)
                self._note(job.decision_id, float(np.mean(scores)))
                self._failed_in_a_row = 0
            except Exception as error:  # noqa: BLE001 - counted; the join closes with the default
                self.failed += 1
                self._failed_in_a_row += 1
                logger.warning("decision %s was not scored: %s", job.decision_id, type(error).__name__)
