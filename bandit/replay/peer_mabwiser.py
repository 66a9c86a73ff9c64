"""LinUCB and linear Thompson of mabwiser 2.7 (Fidelity), on the principal components of the sentence vectors.

Its first rounds draw every arm once, since it predicts nothing before its first fit.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from bandit.context import Context, Decision, Record

from .entrants import Start
from .peers import certain, check_start, library, reward
from .projection import Projection

# The library's own alpha of 1 is for rewards with a spread of 1; that of qualities around their mean is a tenth.
ALPHA = 0.1


def make_linucb(start: Start) -> MabwiserRouter:
    """Raises UnknownPolicy."""
    return MabwiserRouter(start, "LinUCB")


def make_lints(start: Start) -> MabwiserRouter:
    """Raises UnknownPolicy."""
    return MabwiserRouter(start, "LinTS")


class MabwiserRouter:
    """Learns one scalar, the caller's utility."""

    def __init__(self, start: Start, kind: str) -> None:
        check_start(start, "mabwiser", paces=False)
        self._library = library("mabwiser.mab", "mabwiser")
        self._kind, self._seed = kind, start.seed
        self._projection = Projection.of(start.first_vectors)
        self._mab: Any = None
        self._drawn: set[str] = set()

    def decide(self, context: Context, rng: Random) -> Decision:
        names = [arm.name for arm in context.arms]
        self._follow(names)
        waiting = [name for name in names if name not in self._drawn]
        if waiting:
            arm = rng.choice(waiting)
        else:
            arm = str(self._mab.predict(self._projection(context.features.vector)[None, :]))
        return Decision(arm, 1.0, certain(context, arm))

    def learn(self, record: Record) -> None:
        arm = record.served_arm
        inputs = self._projection(record.context.features.vector)[None, :]
        self._mab.partial_fit(np.array([arm]), np.array([reward(record)]), inputs)
        self._drawn.add(arm)

    def _follow(self, names: list[str]) -> None:
        """Add arms that came and remove those that went."""
        if self._mab is None:
            policies = self._library.LearningPolicy
            policy = getattr(policies, self._kind)(alpha=ALPHA, l2_lambda=1.0)
            self._mab = self._library.MAB(list(names), policy, seed=self._seed)
        for name in set(names) - set(self._mab.arms):
            self._mab.add_arm(name)
        for name in set(self._mab.arms) - set(names):
            self._mab.remove_arm(name)
            self._drawn.discard(name)
