"""One pass of one router over a table: it sees a prompt, draws an arm, and is told of that arm alone.

Everything about the arms that were not drawn stays in the table, from which `report` reckons afterwards what the
probabilities of each round were worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bandit.context import Context, Decision, PromptFeatures, Record, Weights

from .stage import Stage
from .table import Floats, Table


class Router(Protocol):
    """What is replayed: the deciding half of `bandit.policy.Policy`; libraries of others are adapted to it."""

    def decide(self, context: Context, rng: Random) -> Decision: ...
    def learn(self, record: Record) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What one router did in one order of the prompts. [T rounds], [T, M models]."""

    order: NDArray[np.int64]  # row of the table, per round
    drawn: NDArray[np.int64]  # model, per round
    probabilities: Floats


def order_of(table: Table, seed: int) -> NDArray[np.int64]:
    """A seeded order of all prompts; the part to learn from comes first where the table has one."""
    shuffled = np.random.default_rng([seed, 0x7AB1E]).permutation(len(table.prompts))
    if table.first_part is None:
        return shuffled
    first = table.first_part[shuffled]
    return np.concatenate([shuffled[first], shuffled[~first]])


def replay(
    router: Router,
    table: Table,
    features: Sequence[PromptFeatures],
    weights: Weights,
    stages: Sequence[Stage],
    seed: int,
) -> Replay:
    """Every prompt once. `features` are of the table's prompts, in its order; `stages` start at round 0 and rise."""
    assert stages[0].from_round == 0
    order = order_of(table, seed)
    rng = Random(seed)
    place = {model: column for column, model in enumerate(table.models)}
    quality = table.quality.tolist()
    cost_usd = None if table.cost_usd is None else table.cost_usd.tolist()
    latency_s = None if table.latency_s is None else table.latency_s.tolist()
    drawn = np.empty(len(order), dtype=np.int64)
    probabilities = np.zeros((len(order), len(table.models)))
    coming = list(stages)
    stage = coming.pop(0)
    for number, row in enumerate(order.tolist()):
        while coming and number >= coming[0].from_round:
            stage = coming.pop(0)
        context = Context(features[row], stage.arms, weights)
        decision = router.decide(context, rng)
        column = place[decision.arm]
        drawn[number] = column
        for name, probability in decision.probabilities.items():
            probabilities[number, place[name]] = probability
        router.learn(
            Record(
                decision_id=str(number),
                context=context,
                decision=decision,
                served_arm=decision.arm,
                latency_s=0.0 if latency_s is None else latency_s[row][column],
                cost_usd=0.0 if cost_usd is None else cost_usd[row][column] * stage.cost_times[column],
                quality=quality[row][column],
            )
        )
    return Replay(order, drawn, probabilities)
