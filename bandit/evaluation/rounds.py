"""The rounds of a log that tell something about other choices, as tables with a column an arm."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bandit.context import Decision, Record
from bandit.errors import CannotEvaluate
from bandit.policy import eligible_arms

from .estimators import PerArm
from .missing import Drawn
from .rewards import Dominant, Range


@dataclass(frozen=True, slots=True)
class Rounds:
    """All usable rounds in the order of their decisions; tables are [rounds, arms], 0.0 where an arm was not there."""

    names: tuple[str, ...]  # of the arms
    drawn: np.ndarray  # [rounds], index of the arm
    logged: np.ndarray
    target: np.ndarray
    predicted: np.ndarray  # expected rewards
    eligible: np.ndarray  # 1.0 where an arm could be drawn, whatever the policy
    reward: np.ndarray  # [rounds], clipped to low .. high
    low: float
    high: float
    clipped: float  # share of the rewards
    outlying: int  # rounds whose contexts reach beyond low .. high
    dominant: Dominant | None  # weights of few that hold most of what is at stake
    decided: int  # rounds of the log, usable or not
    excluded: Mapping[str, int]  # the others, by reason
    by_arm: dict[str, Drawn]  # what became of the rounds of each drawn arm, usable or not

    @property
    def propensity(self) -> np.ndarray:
        """Of the arms that were drawn."""
        return self.logged[np.arange(len(self.drawn)), self.drawn]

    def per_arm(self, target: np.ndarray) -> PerArm:
        """What the estimators take, for these or other target probabilities."""
        return PerArm(self.drawn, self.logged, target, self.predicted)

    def always(self, arm: str) -> np.ndarray:
        """Probabilities of the policy that is fixed on an arm; any of the others alike where it cannot be drawn."""
        place = self.names.index(arm)
        alone = np.zeros_like(self.eligible)
        alone[:, place] = 1.0
        return np.where(self.eligible[:, place : place + 1] > 0, alone, self.evenly())

    def evenly(self) -> np.ndarray:
        """Probabilities of the uniform policy."""
        return self.eligible / self.eligible.sum(axis=1, keepdims=True)


class Collector:
    """Takes the rounds one by one, and the reasons why others are left out."""

    def __init__(self, kind: str) -> None:
        self.excluded: Counter[str] = Counter()
        self._by_arm: dict[str, Drawn] = {}
        self._range = Range(kind)
        self._logged, self._target, self._predicted, self._eligible = _Table(), _Table(), _Table(), _Table()
        self._drawn: list[str] = []
        self._rewards = array("d")

    def count(self, arm: str, *, not_served: bool = False, missing: bool = False) -> None:
        """One round in which the arm was drawn and another could have been, whether or not its reward is known."""
        self._by_arm[arm] = self._by_arm.get(arm, Drawn()).one_more(not_served=not_served, missing=missing)

    def add(self, record: Record, target: Decision, predicted: Mapping[str, float], reward: float) -> None:
        """One usable round: what was logged, how the target would have drawn, what was expected and what was earned."""
        context = record.context
        may = {arm.name for arm in eligible_arms(context)}
        self._range.include(context, record.images)
        self._logged.add(record.decision.probabilities)
        self._target.add(target.probabilities)
        self._predicted.add(predicted)
        self._eligible.add({arm.name: float(arm.name in may) for arm in context.arms})
        self._drawn.append(record.decision.arm)
        self._rewards.append(reward)

    def rounds(self, decided: int) -> Rounds:
        """All of them, of `decided` rounds in the log. Raises CannotEvaluate if there is none."""
        if not self._drawn:
            raise CannotEvaluate(f"none of {decided} rounds is of use: {told(self.excluded)}")
        names = tuple(self._eligible.columns)
        low, high = self._range.bounds()
        raw = np.array(self._rewards)
        clipped = np.clip(raw, low, high)
        return Rounds(
            names=names,
            drawn=np.array([names.index(arm) for arm in self._drawn]),
            logged=self._logged.as_array(names),
            target=self._target.as_array(names),
            predicted=self._predicted.as_array(names),
            eligible=self._eligible.as_array(names),
            reward=clipped,
            low=low,
            high=high,
            clipped=float((clipped != raw).mean()),
            outlying=self._range.outlying(),
            dominant=self._range.dominant(),
            decided=decided,
            excluded=dict(self.excluded),
            by_arm=dict(self._by_arm),
        )


class _Table:
    """A column an arm, which grow together; an arm that is new gets 0.0 for the rounds before it."""

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {}
        self.rows = 0

    def add(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            column = self.columns.setdefault(name, array("d"))
            column.frombytes(bytes(8 * (self.rows - len(column))))
            column.append(value)
        self.rows += 1

    def as_array(self, names: tuple[str, ...]) -> np.ndarray:
        table = np.zeros((self.rows, len(names)))
        for place, name in enumerate(names):
            column = self.columns.get(name, array("d"))
            table[: len(column), place] = column
        return table


def told(excluded: Mapping[str, int]) -> str:
    """Counts with their reasons, the largest first."""
    order = sorted(excluded.items(), key=lambda one: (-one[1], one[0]))
    return "; ".join(f"{count} × {reason}" for reason, count in order if count)
