"""What each arm was expected to earn before a round was drawn: the model of the doubly robust estimate."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from random import Random

from bandit.context import Context, Decision, Limits, Prediction, Record
from bandit.errors import BadContext, BanditError, NoArmAvailable
from bandit.policies import build
from bandit.policy import Policy

from .rewards import Reward


class Expected:
    """Rewards expected of each arm, from a `factored` policy of our own for each schema of features."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self._models: dict[str, Policy | None] = {}
        self._rng = Random(0)
        self._total, self._count = 0.0, 0

    def rewards(self, context: Context, decision: Decision | None) -> dict[str, float]:
        """Before the round's outcome. An arm without a prediction is expected to earn the mean of what was learned."""
        predictions: Mapping[str, Prediction] = {} if decision is None else decision.predictions
        model = None if predictions else self._model(context.features.schema)
        if model is not None:
            # Without limits: what an arm would earn does not depend on whether it may be drawn.
            asked = Context(context.features, context.arms, context.weights, Limits())
            try:
                predictions = model.decide(asked, self._rng).predictions
            except (BadContext, NoArmAvailable):
                predictions = {}
        mean = self._total / self._count if self._count else 0.5
        answer = {}
        for arm in context.arms:
            known = self._reward.expected(predictions[arm.name]) if arm.name in predictions else None
            answer[arm.name] = mean if known is None or not isfinite(known) else known
        return answer

    def learn(self, record: Record, *, model: bool) -> None:
        """An outcome that is complete; `model`: also by the model of our own."""
        own = self._model(record.context.features.schema) if model else None
        if own is not None:
            own.learn(record)
        if not record.amends and not record.quality_is_default:
            self._total += self._reward.of(record)
            self._count += 1

    def _model(self, schema: str) -> Policy | None:
        if schema not in self._models:
            try:
                self._models[schema] = build("factored", {"features_schema": schema, "floor": 0.0})
            except BanditError:  # a schema of another version: no model, and the estimates are right without
                self._models[schema] = None
        return self._models[schema]
