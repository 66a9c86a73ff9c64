"""Quality by Vowpal Wabbit's regression on words: one line per arm, with products of prompt features and the arm.

Labels are centred at one half: an arm that was never seen starts there, and from what its family has taught. What is
learned knows nothing of the caller's weights or of prices, so both may change at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Protocol

from .context import ArmContext, PromptFeatures
from .errors import BadState
from .quality_model import CENTRE, Estimate, clipped
from .vowpal_text import arm_text, prompt_text

_COST_SHARE = 0.05  # of one new cost in the running mean per arm


class Regressor(Protocol):
    """`vowpal.Workspace` without --cb_explore_adf."""

    def predict(self, line: str) -> float: ...
    def learn(self, line: str) -> None: ...
    def serialize(self) -> bytes: ...


class VowpalQuality:
    """`open_regressor` makes a workspace, of bytes where they are given."""

    part_names = frozenset({"quality", "price_times"})

    def __init__(
        self, bits: int, learning_rate: float, open_regressor: Callable[[tuple[str, ...], bytes | None], Regressor]
    ) -> None:
        """The learning rate is constant, so that a drifting tier is followed."""
        self._given = (bits, learning_rate, open_regressor)
        # Products of three: what "two" and "left of" mean together to an arm.
        self._options = (
            *("--bit_precision", str(bits), "--learning_rate", repr(learning_rate), "--power_t", "0"),
            *("--interactions", "ppa", "--interactions", "pa", "--interactions", "ta"),
        )
        self._regressor = open_regressor(self._options, None)
        self._price_times: dict[str, float] = {}

    def estimate(self, features: PromptFeatures, arms: Sequence[ArmContext]) -> list[Estimate]:
        """One per arm."""
        prompt = prompt_text(features)
        return [
            Estimate(
                clipped(self._regressor.predict(prompt + _arm_text(arm)) + CENTRE), self._price_times.get(arm.name, 1.0)
            )
            for arm in arms
        ]

    def learn(self, features: PromptFeatures, arm: ArmContext, quality: float, price_times: float | None) -> None:
        """One image of an arm."""
        self._regressor.learn(f"{quality - CENTRE:.6g} {prompt_text(features)}{_arm_text(arm)}")
        if price_times is not None:
            times = self._price_times.get(arm.name, 1.0)
            self._price_times[arm.name] = times + _COST_SHARE * (price_times - times)

    def forget(self, arm: str, keep: float = 0.0) -> None:
        """Weights are shared by hashing, so only the cost goes; the constant learning rate does the rest."""
        if keep == 0.0:
            self._price_times.pop(arm, None)

    def parts(self) -> dict[str, bytes]:
        """Raises BadState if a weight is not finite."""
        return {
            "quality": self._regressor.serialize(),
            "price_times": json.dumps(self._price_times, sort_keys=True, allow_nan=False).encode(),
        }

    def read(self, parts: dict[str, bytes]) -> VowpalQuality:
        """Raises BadState."""
        bits, learning_rate, open_regressor = self._given
        model = VowpalQuality(bits, learning_rate, lambda options, _: open_regressor(options, parts["quality"]))
        model._given = self._given
        try:
            for name, times in json.loads(parts["price_times"]).items():
                if not (isinstance(times, float) and isfinite(times) and times >= 0):
                    raise BadState(f"arm {name!r} costs {times!r} times its price")
                model._price_times[name] = times
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"costs cannot be read: {error}") from error
        return model


def _arm_text(arm: ArmContext) -> str:
    return arm_text(arm.name, arm.tier, arm.preset, arm.family)
