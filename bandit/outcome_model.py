"""What to expect of each arm for this prompt and this caller: quality is learned, latency predicted, cost known.

Quality is a regression by Vowpal Wabbit on prompt features, arm, and their products, one line per arm. What it learns
knows nothing of the caller's weights or of prices, so both may change at any time. Labels are centred at one half: an
arm that was never seen starts there, and from what its family has taught.

A record that amends (a vote that came after its decision was learned) is one more example of the same prompt and arm,
whose label is the quality moved towards the vote. Its latency was learned the first time and is left alone.

A declared default quality was measured by nobody and is not learned: without a rating such a record teaches latency
only. Latency is learned of requests for one image, from the served arm's own time and from attempts given up as late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

from .context import ArmContext, Context, Prediction, Record
from .latency import LatencyModel
from .options import check_ranges
from .utility import utility
from .vowpal_text import arm_text, prompt_text

PARTS = frozenset({"quality", "latency"})


class Regressor(Protocol):
    """`vowpal.Workspace` without --cb_explore_adf."""

    def predict(self, line: str) -> float: ...
    def learn(self, line: str) -> None: ...
    def serialize(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """How quality and latency are learned. All of it shapes what is learned, so a state only fits equal options."""

    bits: int = 18  # size of the weight table, 2 ** bits
    learning_rate: float = 0.05  # constant, so that a drifting tier is followed
    latency_share: float = 0.05  # of one new latency in the running mean
    rating_share: float = 0.5  # of a user's rating in the label, where there is one; the rest is the scorer's
    features_schema: str = "words-1"

    def __post_init__(self) -> None:
        check_ranges(self)

    def learned_with(self) -> dict[str, object]:
        """The options that a state must have been learned with to be of use here."""
        return {field.name: getattr(self, field.name) for field in fields(OutcomeOptions)}

    def regressor(self) -> tuple[str, ...]:
        """Options of the workspace; products of three, for what "two" and "left of" mean together to an arm."""
        return (
            *("--bit_precision", str(self.bits), "--learning_rate", repr(self.learning_rate), "--power_t", "0"),
            *("--interactions", "ppa", "--interactions", "pa", "--interactions", "ta"),
        )


class OutcomeModel:
    """Predicts and learns the outcome of an arm; the state goes in and out as parts of a policy's envelope."""

    def __init__(self, options: OutcomeOptions, make_regressor: Callable[[tuple[str, ...]], Regressor]) -> None:
        self._options = options
        self._regressor = make_regressor(options.regressor())
        self._latency = LatencyModel(options.latency_share)

    def predict(self, context: Context) -> dict[str, Prediction]:
        """One prediction per arm of the context, available or not."""
        prompt = prompt_text(context.features)
        predictions = {}
        for arm in context.arms:
            line = prompt + arm_text(arm.name, arm.tier, arm.preset, arm.family)
            quality = min(max(self._regressor.predict(line) + 0.5, 0.0), 1.0)
            latency_s = self._latency.predict_s(arm)
            predictions[arm.name] = Prediction(
                quality=quality,
                latency_s=latency_s,
                cost_usd=arm.price_usd,
                utility=utility(context.weights, quality, latency_s, arm.price_usd),
            )
        return predictions

    def predict_latency_s(self, arm: ArmContext) -> float:
        """Expected seconds of one arm under its live load."""
        return self._latency.predict_s(arm)

    def learn(self, record: Record, arm: ArmContext) -> None:
        """Fold a checked record; `arm` is the one that truly served. An amending one teaches quality only."""
        quality = self.quality_of(record)
        if quality is not None:
            prompt = prompt_text(record.context.features)
            self._regressor.learn(f"{quality - 0.5:.6g} {prompt}{arm_text(arm.name, arm.tier, arm.preset, arm.family)}")
        if not record.amends and record.images == 1:
            arms = {one.name: one for one in record.context.arms}
            for name, elapsed_s in record.late:
                if name in arms:
                    self._latency.learn_at_least(arms[name], elapsed_s)
            self._latency.learn(arm, record.latency_s)

    def quality_of(self, record: Record) -> float | None:
        """The quality that is learned: the scorer's, moved towards the user's rating where there is one.

        The rating alone where the quality is the declared default, and None where there is no rating either.
        """
        if record.quality_is_default or record.rating is None:
            return record.rating if record.quality_is_default else record.quality
        share = self._options.rating_share
        return (1 - share) * record.quality + share * record.rating

    def parts(self) -> dict[str, bytes]:
        """Everything learned, by the names in PARTS."""
        return {"quality": self._regressor.serialize(), "latency": self._latency.state()}

    @classmethod
    def read(
        cls,
        options: OutcomeOptions,
        parts: dict[str, bytes],
        read_regressor: Callable[[tuple[str, ...], bytes], Regressor],
    ) -> OutcomeModel:
        """The model that wrote these parts with equal options. Raises BadState."""
        latency = LatencyModel.read(parts["latency"], options.latency_share)
        model = cls(options, lambda arguments: read_regressor(arguments, parts["quality"]))
        model._latency = latency
        return model
