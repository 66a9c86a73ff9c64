"""The learner with a clock: steps until it is told to stop, and waits out a database that is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .errors import JournalAway
from .learner import Learner

_LONGEST_PAUSE_S = 10.0

_log = logging.getLogger(__name__)


def run(
    learner: Learner,
    stop: threading.Event,
    *,
    poll_s: float = 0.5,
    until_idle: bool = False,
    clock: Callable[[], float] = time.time,
) -> None:
    """Step until `stop` is set, or with `until_idle` until this learner holds the lease and has nothing left to do.

    At the end what is unpublished is published and the lease given back. `clock` gives Unix time.
    """
    pause_s = poll_s
    while not stop.is_set():
        try:
            report = learner.step(clock())
            pause_s = 0.0 if report.more else poll_s
            if until_idle and report.leader and not report.more and not report.closed:
                break
        except JournalAway as error:
            pause_s = min(max(2 * pause_s, poll_s), _LONGEST_PAUSE_S)
            _log.warning("next try in %.1f s: %s", pause_s, error)
        stop.wait(pause_s)
    try:
        learner.stop(clock())
    except JournalAway as error:
        _log.warning("stopped without a last snapshot: %s", error)
