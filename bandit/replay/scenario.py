"""One change of the arms in mid-run: a newcomer, a removal, another price. What is counted is what comes after it.

How fast a newcomer is adopted is measured as ParetoBandit's paper does (in its repository,
experiments/04_model_onboarding, `_compute_sustained_step`): its share among the last 100 decisions, or all since its
arrival while there are fewer, is at least a tenth for 50 decisions in a row; the step is the first of these 50, counted
from 1 at its arrival. The paper forces its first 20 draws on the newcomer and does not look before these have left the
window, so that no step below 121 can be found: `settled_steps` is that figure, `steps` is without the wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bandit.context import ArmContext
from bandit.errors import BadTable

from .run import Replay
from .stage import Stage
from .table import Rows, Table

ADOPTED_SHARE, WINDOW, HELD = 0.10, 100, 50
WASHOUT = 120  # 20 forced draws, and the window that they are in


@dataclass(frozen=True, slots=True)
class Scenario:
    """From round `at` on, `model` is there, is gone, or costs `times` as much, and every router is told so."""

    kind: str  # "newcomer" | "removal" | "repricing"
    model: str
    at: int
    times: float = 1.0

    @property
    def title(self) -> str:
        """As the report names it."""
        what = {"newcomer": "comes", "removal": "goes", "repricing": f"costs {self.times:g} times as much"}
        return f"{self.model} {what[self.kind]} at round {self.at}"

    def check(self, table: Table) -> None:
        """Raises BadTable if the table has no such model or round, or no costs to change."""
        if self.model not in table.models:
            raise BadTable(f"there is no model {self.model!r} in {table.name}; there is {', '.join(table.models)}")
        if not 0 < self.at < len(table.prompts):
            raise BadTable(f"round {self.at} is not within the {len(table.prompts)} of {table.name}")
        if self.kind == "repricing" and table.cost_usd is None:
            raise BadTable(f"{table.name} has no costs, so no price can change")
        if self.kind == "removal" and len(table.models) < 3:
            raise BadTable(f"{table.name} has two models only; without {self.model} there is nothing to choose")

    def stages(self, arms: Sequence[ArmContext]) -> tuple[Stage, Stage]:
        """Before and after."""
        everyone, same = tuple(arms), (1.0,) * len(arms)
        others = tuple(arm for arm in arms if arm.name != self.model)
        if self.kind == "newcomer":
            return Stage(0, others, same), Stage(self.at, everyone, same)
        if self.kind == "removal":
            return Stage(0, everyone, same), Stage(self.at, others, same)
        factors = tuple(self.times if arm.name == self.model else 1.0 for arm in arms)
        priced = [replace(arm, price_usd=arm.price_usd * times) for arm, times in zip(arms, factors, strict=True)]
        return Stage(0, everyone, same), Stage(self.at, tuple(priced), factors)

    def table_after(self, table: Table) -> Table:
        """What there is to choose from, and what it costs, once the change is there."""
        column = table.models.index(self.model)
        if self.kind == "repricing" and table.cost_usd is not None:
            cost_usd = table.cost_usd.copy()
            cost_usd[:, column] *= self.times
            return replace(table, cost_usd=cost_usd)
        if self.kind == "removal":
            kept = [other for other in range(len(table.models)) if other != column]
            return replace(
                table,
                models=tuple(table.models[other] for other in kept),
                quality=table.quality[:, kept],
                cost_usd=None if table.cost_usd is None else table.cost_usd[:, kept],
                latency_s=None if table.latency_s is None else table.latency_s[:, kept],
            )
        return table

    def replay_after(self, table: Table, run: Replay) -> Replay:
        """The rounds after the change, over the models of `table_after`."""
        drawn, chances = run.drawn[self.at :], run.probabilities[self.at :]
        if self.kind == "removal":
            column = table.models.index(self.model)
            assert not (drawn == column).any(), "an arm was drawn that was not offered"
            drawn, chances = drawn - (drawn > column), np.delete(chances, column, axis=1)
        return Replay(run.order[self.at :], drawn, chances)


@dataclass(frozen=True, slots=True)
class Adoption:
    """Of the scenario's model, per router: one entry per seed."""

    steps: tuple[int | None, ...]  # until it was adopted; None: never
    settled_steps: tuple[int | None, ...]  # the same, not looked for before step 121
    first_drawn: tuple[int | None, ...]  # step of its first draw, counted from 1
    share_before: float  # of all draws of the last 200 rounds before the change
    share_at_end: float  # of the last 200 rounds

    @property
    def mean_step(self) -> float | None:
        """Over the seeds in which it was adopted."""
        return mean_of(self.steps)

    @property
    def mean_settled_step(self) -> float | None:
        """Over the seeds in which it was adopted."""
        return mean_of(self.settled_steps)


def mean_of(steps: Sequence[int | None]) -> float | None:
    """Of those that are there."""
    there = [step for step in steps if step is not None]
    return sum(there) / len(there) if there else None


def adoption(table: Table, scenario: Scenario, runs: Sequence[Replay]) -> Adoption:
    """What became of the scenario's model."""
    column = table.models.index(scenario.model)
    hits = [run.drawn == column for run in runs]
    since = [hit[scenario.at :] for hit in hits]
    return Adoption(
        steps=tuple(sustained_step(hit) for hit in since),
        settled_steps=tuple(sustained_step(hit, WASHOUT) for hit in since),
        first_drawn=tuple(int(np.argmax(hit)) + 1 if hit.any() else None for hit in since),
        share_before=float(np.mean([hit[max(scenario.at - 200, 0) : scenario.at].mean() for hit in hits])),
        share_at_end=float(np.mean([hit[-200:].mean() for hit in since])),
    )


def sustained_step(hits: Rows, skipped: int = 0) -> int | None:
    """The first of `HELD` steps in a row, after those skipped, at which the window's share of hits is high enough."""
    total = np.concatenate([[0], np.cumsum(hits)])
    held = 0
    for step in range(skipped + 1, len(hits) + 1):
        start = max(step - WINDOW, 0)
        held = held + 1 if total[step] - total[start] >= ADOPTED_SHARE * (step - start) else 0
        if held == HELD:
            return step - HELD + 1
    return None
