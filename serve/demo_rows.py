"""One row a request of the demo: what was asked, which arm drew it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bandit.context import Weights
from bandit.utility import utility

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Row:
    """One answered request. Latency and cost are the gateway's own measure: those that the router learns from."""

    number: int  # of the prompt, from 0; a prompt has one row by the router, and perhaps one by each arm
    kind: str
    caption: str
    seed: int
    model: str  # as asked for: AUTO, or an arm
    arm: str  # that truly drew it
    decision_id: str
    policy: str
    snapshot_version: int | None  # None: the policy had learned nothing yet
    propensity: float
    probabilities: Mapping[str, float]
    latency_s: float
    cost_usd: float
    elapsed_s: float  # as the client saw it
    quality: float | None  # the scorer's; None: it never came
    utility: float | None  # None without a quality
    right: bool | None = None  # by the independent check; None: not checked

    @property
    def by_router(self) -> bool:
        """Whether the router chose the arm."""
        return self.model == AUTO

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)


def utility_of(weights: Mapping[str, float], quality: float | None, latency_s: float, cost_usd: float) -> float | None:
    """What an answer was worth, by the weights that the gateway names; None without a quality."""
    return None if quality is None else utility(Weights(**weights), quality, latency_s, cost_usd)
