"""Quality by ridge regression on a prompt's vector: see `ridge.py` for what arms share.

The vector is the sentence encoder's where the schema has one, alone: on tables of others, numbers and hashed words
beside it taught less than they cost in noise. Without an encoder it is made of those, tokens hashed into `buckets`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .context import ArmContext, PromptFeatures
from .design_vector import design_vector
from .quality_model import CENTRE, Estimate, clipped
from .ridge import Ridge

_LEAST_TIMES_PRICE = 0.02


class RidgeQuality:
    """Two targets: quality, and cost as a multiple of the price."""

    part_names = frozenset({"ridge_head", "ridge_numbers"})

    def __init__(self, buckets: int, shared_penalty: float, own_penalty: float, memory: float) -> None:
        """`memory`: samples of an arm that count; older ones fade."""
        self._given = (buckets, shared_penalty, own_penalty, memory)
        self._buckets = buckets
        self._ridge = Ridge((CENTRE, 1.0), shared_penalty, own_penalty, keep=1.0 - 1.0 / memory)

    def estimate(self, features: PromptFeatures, arms: Sequence[ArmContext]) -> list[Estimate]:
        """One per arm."""
        values = self._ridge.predict(self._vector(features), [(arm.name, arm.family) for arm in arms])
        return [
            # What others cost against their price says nothing of this arm's: its price stands until it is seen.
            Estimate(clipped(quality), max(times, _LEAST_TIMES_PRICE) if self._ridge.count(arm.name) else 1.0)
            for arm, (quality, times) in zip(arms, values.tolist(), strict=True)
        ]

    def learn(self, features: PromptFeatures, arm: ArmContext, quality: float, price_times: float | None) -> None:
        """One image of an arm."""
        times = 1.0 if price_times is None else price_times
        self._ridge.learn(self._vector(features), arm.name, arm.family, (quality, times))

    def forget(self, arm: str, keep: float = 0.0) -> None:
        """Keep this share of what the arm's images weigh; 0 drops the arm."""
        self._ridge.forget(arm, keep)

    def parts(self) -> dict[str, bytes]:
        """Raises BadState if a number is not finite."""
        return self._ridge.parts()

    def read(self, parts: dict[str, bytes]) -> RidgeQuality:
        """Raises BadState."""
        model = RidgeQuality(*self._given)
        model._ridge = self._ridge.read(parts)
        return model

    def _vector(self, features: PromptFeatures) -> NDArray[np.float64]:
        if features.vector:
            return np.array(features.vector)
        return design_vector(features, self._buckets)[1:]  # without the constant: arms have means of their own
