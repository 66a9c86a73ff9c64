"""The learner as a Serve application: one replica, a thread that folds the journal, and one that guards experiments.

All state is the journal's. Serve may run two replicas for a moment; the lease in the journal lets one of them write.
The guard reads every decision of an experiment, which may take long, and may fail: learning does not wait for it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time

from bandit.experiments.supervisor import Supervisor
from bandit.journal import Journal
from bandit.learner import LearnerSettings
from bandit.learner_loop import run

from .catalogue import Learning, PolicyChoice
from .deciding import catalogue_policy
from .experiments_learning import ExperimentLearner
from .watch import Watch

logger = logging.getLogger("ray.serve")

_STOP_WAIT_S = 10.0  # for a last snapshot
_SUPERVISE_EVERY_S = 1.0  # it keeps its own, slower pace


class LearnerReplica:
    """Learns a catalogue's policy from a journal."""

    def __init__(self, policy: PolicyChoice, learning: Learning, journal_url: str) -> None:
        journal = Journal.open(journal_url)
        learner = ExperimentLearner(
            journal,
            catalogue_policy(policy),
            holder=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            settings=LearnerSettings(
                join_window_s=learning.join_window_s,
                default_quality=learning.default_quality,
                vote_window_s=learning.vote_window_s,
                snapshot_every=learning.snapshot_every,
                snapshot_after_s=learning.snapshot_after_s,
            ),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=run, args=(learner, self._stop), name="learner", daemon=True)
        self._thread.start()
        supervisor = Supervisor(journal)
        self._guard = Watch("supervisor", lambda: _supervise(learner, supervisor), _SUPERVISE_EVERY_S)

    def check_health(self) -> None:
        """Serve replaces this replica when its thread has ended; the next one goes on from the journal."""
        if not self._thread.is_alive():
            raise RuntimeError("the learner's thread has ended")

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self._guard.stop()
            self._stop.set()
            self._thread.join(_STOP_WAIT_S)


def _supervise(learner: ExperimentLearner, supervisor: Supervisor) -> None:
    if learner.leads:
        supervisor.step(time.time())
