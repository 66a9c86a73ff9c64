"""Decisions of shadows on their way into the journal: no request waits for them, and a journal that is away drops none
until the buffer is full."""

from __future__ import annotations

import logging
import threading
from collections import deque

from bandit.errors import BadRow
from bandit.experiments.shadow import ShadowRow, append_shadows
from bandit.journal import Journal

logger = logging.getLogger("ray.serve")

EVERY_S = 0.5
_KEPT_ROWS = 10_000
_GROUP_ROWS = 500


class ShadowLog:
    """`add` from the event loop, `flush` from other threads."""

    def __init__(self, journal: Journal, *, kept_rows: int = _KEPT_ROWS) -> None:
        self._journal = journal
        self._kept_rows = kept_rows
        self._rows: deque[ShadowRow] = deque()
        self._flushing = threading.Lock()
        self.lost_rows = 0

    def add(self, row: ShadowRow) -> None:
        """Keep a row for the next flush."""
        if len(self._rows) >= self._kept_rows:
            self.lost_rows += 1
            return
        self._rows.append(row)

    def flush(self) -> None:
        """Write what is there. Raises JournalAway; the rows stay then."""
        with self._flushing:
            while group := [self._rows[i] for i in range(min(len(self._rows), _GROUP_ROWS))]:
                try:
                    append_shadows(self._journal, group)
                except BadRow:
                    self._flush_apart(group)
                for _ in group:
                    self._rows.popleft()

    def _flush_apart(self, group: list[ShadowRow]) -> None:
        for row in group:
            try:
                append_shadows(self._journal, [row])
            except BadRow as error:
                self.lost_rows += 1
                logger.warning("a shadow decision was not written: %s", error)
