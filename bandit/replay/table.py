"""A full-information table: what every model made of every prompt, and what that cost. Plain arrays, no reading.

Arrays are [N prompts, M models] float64. What a source does not have is None, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bandit.context import Weights
from bandit.errors import BadTable

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.bool_]

# Below this, five folds and a bootstrap say nothing.
FEWEST_PROMPTS = 20
FEWEST_MODELS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Complete: there is a quality in [0, 1] for every prompt and model, and a cost and latency for all or for none."""

    name: str
    prompt_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    quality: Floats
    cost_usd: Floats | None
    latency_s: Floats | None
    first_part: Rows | None = (
        None  # [N] bool: prompts that the source gives to learn from; None: it makes no difference
    )
    notes: tuple[str, ...] = ()  # what a reader should know: prompts dropped, prices derived

    def __post_init__(self) -> None:
        if len(self.models) < FEWEST_MODELS:
            raise BadTable(f"{self.name}: one model only ({', '.join(self.models)}); there is nothing to choose")
        if len(self.prompts) < FEWEST_PROMPTS:
            raise BadTable(f"{self.name}: {len(self.prompts)} complete prompts; at least {FEWEST_PROMPTS} are needed")
        for name, values in (("quality", self.quality), ("cost", self.cost_usd), ("latency", self.latency_s)):
            if values is None:
                continue
            assert values.shape == (len(self.prompts), len(self.models)), name
            if not np.isfinite(values).all() or values.min() < 0 or (name == "quality" and values.max() > 1):
                raise BadTable(f"{self.name}: {name} holds {values.min()!r} to {values.max()!r}; allowed: 0 and more, "
                               "finite, and for quality at most 1")  # fmt: skip

    def worth(self, weights: Weights) -> Floats:
        """Utility of every prompt and model: quality, less what its true cost and seconds are worth. [N, M]"""
        worth = weights.quality * self.quality
        if weights.cost_per_usd and self.cost_usd is None:
            raise BadTable(f"{self.name} has no costs, so a weight of {weights.cost_per_usd:g} per USD charges nothing")
        if weights.latency_per_s and self.latency_s is None:
            raise BadTable(f"{self.name} has no latencies, so a weight of {weights.latency_per_s:g} per second "
                           "charges nothing")  # fmt: skip
        if self.cost_usd is not None:
            worth = worth - weights.cost_per_usd * self.cost_usd
        if self.latency_s is not None:
            worth = worth - weights.latency_per_s * self.latency_s
        return worth
