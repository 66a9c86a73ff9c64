"""The contract of what learns the quality of each arm for a prompt, and what its image costs against the known price.

`vowpal_quality.py` learns from words, with products of features; `ridge_quality.py` from vectors, with what the arms
have in common apart from what they differ in. Neither knows of the caller's weights, of prices or of load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .context import ArmContext, PromptFeatures

CENTRE = 0.5  # the quality that an arm never seen is expected to have, before its likes say otherwise
MOST_TIMES_PRICE = 20.0  # one record's cost over its price counts at most so much: one bill of an hour is no rule


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one arm: quality in [0, 1], and cost as a multiple of the known price."""

    quality: float
    price_times: float


class QualityModel(Protocol):
    """Estimates and learns; `read` makes a model like this one of what `parts` gave."""

    part_names: frozenset[str]

    def estimate(self, features: PromptFeatures, arms: Sequence[ArmContext]) -> list[Estimate]: ...
    def learn(self, features: PromptFeatures, arm: ArmContext, quality: float, price_times: float | None) -> None: ...
    def forget(self, arm: str, keep: float = 0.0) -> None: ...
    def parts(self) -> dict[str, bytes]: ...
    def read(self, parts: dict[str, bytes]) -> QualityModel: ...


def price_times(cost_usd: float, price_usd: float) -> float | None:
    """A cost as a multiple of the known price, None where nothing can be said: the arm is free."""
    return min(cost_usd / price_usd, MOST_TIMES_PRICE) if price_usd > 0 else None


def clipped(quality: float) -> float:
    """Into [0, 1]: a regression may point beyond."""
    return min(max(quality, 0.0), 1.0)
