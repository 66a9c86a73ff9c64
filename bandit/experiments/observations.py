"""What the journal has of each exposure of one variant, as arrays: streamed out of one query, one row per decision.

Quality is the earliest measured one, also where it came after the join was closed with the default; a rating counts
if it is the caller's, and of several the first. Seconds are what the caller waited, arms that were tried in vain
included, and USD are per image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, Text, cast, func, or_, select

from bandit.context import Weights
from bandit.signals import SignalKind
from bandit.tables import decisions, outcomes, signals

PENDING, SERVED, FAILED, CANCELLED = range(4)
_STATUS = {None: PENDING, "served": SERVED, "failed": FAILED, "refused": FAILED, "cancelled": CANCELLED}
_ROWS = 20_000  # of one chunk


@dataclass(frozen=True, slots=True)
class Observations:
    """One entry per exposure, [exposures] each, in the order of time; NaN where there is nothing."""

    unit: np.ndarray  # int64, numbers given by `Units`
    at_s: np.ndarray  # Unix time of the decision
    status: np.ndarray  # int8: PENDING, SERVED, FAILED or CANCELLED
    wait_s: np.ndarray  # until the answer, whatever it was
    cost_usd: np.ndarray  # per image, of what was served
    quality: np.ndarray  # in [0, 1], of what was served
    rating: np.ndarray  # in [0, 1]
    utility: np.ndarray  # see `metrics.py`
    fallback: np.ndarray  # bool: the variant's policy misbehaved, and another one decided

    def only(self, mask: np.ndarray) -> Observations:
        """Those for which the mask is true."""
        return Observations(*(getattr(self, field.name)[mask] for field in fields(self)))


class Units:
    """Numbers the units of an experiment, the same unit with the same number in every variant."""

    def __init__(self, kind: str) -> None:
        self._by_caller = kind == "user"
        self._known: dict[str, int] = {}
        self._count = 0

    def numbers(self, callers: tuple[str | None, ...]) -> np.ndarray:
        """One per decision; a decision without a caller is a unit of its own."""
        if not self._by_caller:
            first, self._count = self._count, self._count + len(callers)
            return np.arange(first, self._count)
        numbers = []
        for caller in callers:
            number = None if caller is None else self._known.get(caller)
            if number is None:
                number, self._count = self._count, self._count + 1
                if caller is not None:
                    self._known[caller] = number
            numbers.append(number)
        return np.asarray(numbers, dtype=np.int64)


def observe(
    connection: Connection, column: str, units: Units, *, after_s: float | None = None, judged_by: Weights | None = None
) -> Observations:
    """All exposures of a variant ("experiment:variant") dated later than `after_s` (Unix time).

    `judged_by`: the weights of utility; None: those of each decision.
    """
    chunks = [_chunk((), units, judged_by, {})]
    known: dict[str, tuple[float, float, float]] = {}
    result = connection.execute(_query(column, after_s), execution_options={"yield_per": _ROWS})
    for rows in result.partitions():
        chunks.append(_chunk(tuple(rows), units, judged_by, known))
    return Observations(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


def _query(column: str, after_s: float | None) -> Select[Any]:
    def first(kind: SignalKind, *where: Any) -> Any:
        query = select(signals.c.value).where(signals.c.decision_id == decisions.c.decision_id, signals.c.kind == kind)
        ordered = query.where(*where).order_by(signals.c.received_at_s, signals.c.source).limit(1)
        return ordered.correlate(decisions).scalar_subquery()

    # As `votes.is_callers` says.
    callers = or_(
        decisions.c.caller_hash.is_(None),
        signals.c.source == "user:" + func.substr(decisions.c.caller_hash, 1, 32),
    )
    query = (
        select(
            decisions.c.caller_hash,
            decisions.c.created_at_s,
            outcomes.c.status,
            outcomes.c.latency_s,
            outcomes.c.cost_usd / decisions.c.images,
            first(SignalKind.QUALITY),
            first(SignalKind.RATING, callers),
            cast(decisions.c.weights, Text),
            decisions.c.policy,
        )
        .outerjoin(outcomes, outcomes.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.variant == column)
        .order_by(decisions.c.created_at_s, decisions.c.decision_id)
    )
    return query if after_s is None else query.where(decisions.c.created_at_s > after_s)


def _chunk(
    rows: tuple[Any, ...], units: Units, judged_by: Weights | None, known: dict[str, tuple[float, float, float]]
) -> tuple[np.ndarray, ...]:
    members = tuple(zip(*rows, strict=True)) if rows else ((),) * 9
    callers, at, statuses, waits, costs, qualities, ratings, weights, policies = members
    status = np.array([_STATUS[one] for one in statuses], dtype=np.int8)
    served, lost = status == SERVED, (status == FAILED) | (status == CANCELLED)
    wait_s, cost_usd, quality, rating = (np.array(one, dtype=np.float64) for one in (waits, costs, qualities, ratings))
    if judged_by is None:
        table = np.array([_weights(text, known) for text in weights], dtype=np.float64).reshape(-1, 3)
    else:
        table = np.broadcast_to((judged_by.quality, judged_by.latency_per_s, judged_by.cost_per_usd), (len(rows), 3))
    worth = table[:, 0] * np.where(lost, 0.0, quality) - table[:, 1] * wait_s
    worth -= table[:, 2] * np.where(lost, 0.0, cost_usd)
    return (
        units.numbers(callers),
        np.array(at, dtype=np.float64),
        status,
        wait_s,
        np.where(served, cost_usd, np.nan),
        np.where(served, quality, np.nan),
        np.where(served, rating, np.nan),
        np.where(served | lost, worth, np.nan),
        np.array([one.startswith("fallback:") for one in policies], dtype=bool),
    )


def _weights(text: str, known: dict[str, tuple[float, float, float]]) -> tuple[float, float, float]:
    """Of one decision; there are few different ones, and each is read once."""
    if text not in known:
        value = json.loads(text)
        known[text] = (value["quality"], value["latency_per_s"], value["cost_per_usd"])
    return known[text]
