"""What runs by itself: guardrails stop variants, apprentices take over. The learner's thread calls it now and then.

Which process does it does not matter for the result: every action is an event that is written once, whoever comes
second finds it done or loses with a conflict, which is left for the next look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bandit.errors import ExperimentError, JournalAway
from bandit.journal import Journal

from .analysis import report
from .assignment import Running
from .ledger import Ledger

ACTOR = "supervisor"
EVERY_S = 5.0
_MOST_TIME = 0.05  # of the caller's: reading a million decisions takes seconds, and then there are longer pauses

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Action:
    """What was done: `what` is "stopped", "promoted" or "failed"; `sentence` says why, as the event does."""

    experiment_id: str
    variant: str | None
    what: str
    sentence: str


class Supervisor:
    """`supervise` at a bearable pace. `step` returns at once while it is not time."""

    def __init__(self, journal: Journal, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._every_s = every_s
        self._clock = clock
        self._next_s = clock()

    def step(self, now_s: float) -> list[Action]:
        """Look, if it is time to; `now_s` is Unix time. Never raises."""
        begun_s = self._clock()
        if begun_s < self._next_s:
            return []
        try:
            return supervise(self._journal, now_s)
        except JournalAway as error:
            _log.warning("experiments are not supervised: %s", error)
            return []
        finally:
            took_s = self._clock() - begun_s
            self._next_s = self._clock() + max(self._every_s, took_s / _MOST_TIME)


def supervise(journal: Journal, now_s: float) -> list[Action]:
    """Judge every running experiment once. What goes wrong with one is an action "failed" and stops no other.

    Raises JournalAway only where not even the experiments can be read.
    """
    ledger, actions = Ledger(journal), list[Action]()
    for experiment in ledger.running():
        try:
            actions += _one(journal, ledger, experiment, now_s)
        except Exception as error:  # noqa: BLE001 - logged, told, and tried again at the next look
            _log.exception("experiment %s cannot be supervised", experiment.experiment_id)
            actions.append(Action(experiment.experiment_id, None, "failed", f"{type(error).__name__}: {error}"))
    return actions


def _one(journal: Journal, ledger: Ledger, experiment: Running, now_s: float) -> list[Action]:
    plan = experiment.plan
    if not plan.guardrails and plan.kind != "apprentice":
        return []
    found, actions = report(journal, plan.experiment_id, now_s), list[Action]()
    stopped: set[str] = set()
    for verdict in found.guardrails:
        if verdict.breached and verdict.variant not in stopped:
            stopped.add(verdict.variant)
            ledger.stop_variant(plan.experiment_id, verdict.variant, ACTOR, now_s, reason=verdict.sentence)
            actions.append(Action(plan.experiment_id, verdict.variant, "stopped", verdict.sentence))
    if plan.kind == "apprentice" and found.winner is not None:
        try:
            ledger.promote(plan.experiment_id, found.winner, ACTOR, now_s)
            actions.append(Action(plan.experiment_id, found.winner, "promoted", found.verdict))
        except ExperimentError as error:
            _log.info("experiment %s: %s", plan.experiment_id, error)  # somebody was first: seen at the next look
    return actions
