"""Linear Thompson of bayesianbandits 1.5, a regression per arm, on the components of the sentence vectors."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from bandit.context import Context, Decision, Record

from .entrants import Start
from .peers import certain, check_start, library, reward
from .projection import Projection

PRECISION = 1.0  # of the prior on every coefficient
NOISE_PRECISION = 25.0  # of a reward around its mean: a standard deviation of 0.2


def make(start: Start) -> BayesianRouter:
    """Raises UnknownPolicy."""
    return BayesianRouter(start)


class BayesianRouter:
    """Learns one scalar, the caller's utility."""

    def __init__(self, start: Start) -> None:
        check_start(start, "bayesianbandits", paces=False)
        self._library = library("bayesianbandits", "bayesianbandits")
        self._seed = start.seed
        self._projection = Projection.of(start.first_vectors)
        self._agent: Any = None
        self._names: set[str] = set()

    def decide(self, context: Context, rng: Random) -> Decision:
        self._follow([arm.name for arm in context.arms])
        arm = str(self._agent.pull(self._projection(context.features.vector)[None, :])[0])
        return Decision(arm, 1.0, certain(context, arm))

    def learn(self, record: Record) -> None:
        inputs = self._projection(record.context.features.vector)[None, :]
        self._agent.select_for_update(record.served_arm).update(inputs, np.array([reward(record)]))

    def _follow(self, names: list[str]) -> None:
        """Add arms that came and remove those that went."""
        if self._agent is None:
            arms = [self._arm(name) for name in names]
            policy = self._library.ThompsonSampling()
            self._agent = self._library.ContextualAgent(arms, policy, random_seed=self._seed)
            self._names = set(names)
        for name in set(names) - self._names:
            self._agent.add_arm(self._arm(name))
        for name in self._names - set(names):
            self._agent.remove_arm(name)
        self._names = set(names)

    def _arm(self, name: str) -> Any:
        regressor = self._library.NormalRegressor(alpha=PRECISION, beta=NOISE_PRECISION)
        return self._library.Arm(name, learner=regressor)
