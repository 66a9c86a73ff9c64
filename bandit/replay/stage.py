"""What a replayed router may know of the arms, and how that changes on the way: prices, times, who is there.

The known price of an arm is the mean cost of the part that comes first (or the list price, where that is the cost), as
an operator knows it from his bills; what is counted, and revealed after each round, is the true cost of that prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandit.context import ArmContext

from .table import Rows, Table

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Stage:
    """From this round on, these arms are there, at these prices; true costs are the table's times `cost_times`."""

    from_round: int
    arms: tuple[ArmContext, ...]
    cost_times: tuple[float, ...]  # one per model of the table, those that are away included


def family(model: str) -> str:
    """The first word of a model's name, without its owner: what an unseen model is first taken for."""
    words = _WORD.findall(model.rpartition("/")[2].lower())
    return words[0] if words else "unnamed"


def known_arms(table: Table, first: Rows) -> tuple[ArmContext, ...]:
    """One arm per model; prices and service times are means over the prompts in `first` [N]."""
    prices = np.zeros(len(table.models)) if table.cost_usd is None else table.cost_usd[first].mean(axis=0)
    times = np.zeros(len(table.models)) if table.latency_s is None else table.latency_s[first].mean(axis=0)
    return tuple(
        ArmContext(
            model, tier=model, preset="default", family=family(model), price_usd=float(price), service_s=float(s)
        )
        for model, price, s in zip(table.models, prices, times, strict=True)
    )


def unchanged(arms: Sequence[ArmContext]) -> tuple[Stage, ...]:
    """The same arms from the first round to the last."""
    return (Stage(0, tuple(arms), (1.0,) * len(arms)),)
