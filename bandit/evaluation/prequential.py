"""A target walks through the log: at each round its probabilities are asked for before it may learn what came of it.

No round is thrown away because the target would have drawn otherwise (as a replay by rejection does): it learns from
every outcome, as the live learner does, and is judged by its probabilities. An outcome model walks beside it; where the
target predicts by itself, its own predictions are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bandit.errors import BadContext, BadRecord, CannotEvaluate, NoArmAvailable
from bandit.validation import check_record

from .expected import Expected
from .log import CANCELLED, NO_QUALITY, NOT_UNDERSTOOD, UNREADABLE, Event, Log, is_sound, unusable
from .rewards import Reward
from .rounds import Collector, Rounds
from .target import Target

Progress = Callable[[int, int], None]  # events done, events in all
_REPORTED_EVERY = 500
_FAILED = ("failed", "refused")  # the status of what was not served, though its caller waited for it


def walk(
    log: Log,
    target: Target,
    reward: Reward,
    *,
    explored_only: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Rounds:
    """All usable rounds with the target's probabilities. Raises CannotEvaluate if there is none, JournalAway."""
    walker = _Walker(target, reward, Random(seed), log.first_s, explored_only)
    for done, event in enumerate(log.events()):
        if done % _REPORTED_EVERY == 0:
            progress(done, len(log))
        if event is not None and event.kind == "learn":
            walker.learn(event)
        elif event is not None:
            walker.decide(event)
    progress(len(log), len(log))
    walker.collector.excluded.update(log.excluded)
    return walker.collector.rounds(log.decided)


class _Walker:
    def __init__(self, target: Target, reward: Reward, rng: Random, first_s: float, explored_only: bool) -> None:
        self.collector = Collector(reward.kind)
        self._target, self._reward, self._rng = target, reward, rng
        self._first_s, self._explored_only = first_s, explored_only
        self._expected = Expected(reward)
        self._predicts = False  # whether the target does so itself, and no other model has to

    def learn(self, event: Event) -> None:
        record = event.record
        try:
            check_record(record, record.context.features.schema)
            if not self._target.is_static and not (self._target.frozen and event.at_s >= self._first_s):
                self._target.policy.learn(record)
            self._expected.learn(record, model=not self._predicts)
        except BadRecord:
            pass  # the live learner did not take it either

    def decide(self, event: Event) -> None:
        record, excluded = event.record, self.collector.excluded
        reason = unusable(record, explored_only=self._explored_only)
        if reason == NO_QUALITY and event.status == "cancelled":
            reason = CANCELLED
        if reason is None:
            try:
                check_record(record, record.context.features.schema)
                earned = self._reward.of(record)
            except (BadRecord, ValueError):
                reason = UNREADABLE
        if reason in (None, NO_QUALITY, CANCELLED, UNREADABLE):
            self.collector.count(record.decision.arm, not_served=event.status in _FAILED, missing=reason is not None)
        if reason is not None:
            excluded[reason] += 1
            return
        try:
            decision = self._target.policy.decide(record.context, self._rng)
        except (BadContext, NoArmAvailable):
            excluded[NOT_UNDERSTOOD] += 1
            return
        if not is_sound(decision, record.context):
            raise CannotEvaluate(
                f"policy {self._target.name} answers decision {record.decision_id} with the probabilities "
                f"{dict(decision.probabilities)}, which are none; nothing can be said of it before that is mended"
            )
        if any(self._reward.expected(one) is not None for one in decision.predictions.values()):
            self._predicts = True
        predicted = self._expected.rewards(record.context, decision if self._predicts else None)
        self.collector.add(record, decision, predicted, earned)
