"""What to expect of each arm for this prompt and this caller: quality is learned, latency predicted, cost known.

Quality comes from a `QualityModel`. What is learned knows nothing of the caller's weights or of prices, so both may
change at any time. The known price is multiplied by what images turned out to cost against it, where that differs.

A record that amends (a vote that came after its decision was learned) is one more example of the same prompt and arm,
whose label is the quality moved towards the vote. Its latency was learned the first time and is left alone.

A declared default quality was measured by nobody and is not learned: without a rating such a record teaches latency
only. Latency is learned of requests for one image, from the served arm's own time and from attempts given up as late.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from .context import ArmContext, Context, Prediction, Record
from .latency import LatencyModel
from .options import check_ranges
from .quality_model import QualityModel, price_times
from .utility import utility


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """How quality and latency are learned. All of it shapes what is learned, so a state only fits equal options."""

    bits: int = 18  # size of Vowpal Wabbit's weight table, 2 ** bits
    learning_rate: float = 0.05  # of Vowpal Wabbit's regression; constant, so that a drifting tier is followed
    latency_share: float = 0.05  # of one new latency in the running mean
    rating_share: float = 0.5  # of a user's rating in the label, where there is one; the rest is the scorer's
    features_schema: str = "words-1"

    def __post_init__(self) -> None:
        check_ranges(self)

    def learned_with(self) -> dict[str, object]:
        """The options that a state must have been learned with to be of use here."""
        return {field.name: getattr(self, field.name) for field in fields(OutcomeOptions)}


class OutcomeModel:
    """Predicts and learns the outcome of an arm; the state goes in and out as parts of a policy's envelope."""

    def __init__(self, options: OutcomeOptions, quality: QualityModel) -> None:
        self._options = options
        self._quality = quality
        self._latency = LatencyModel(options.latency_share)

    @property
    def part_names(self) -> frozenset[str]:
        """Names of what `parts` gives."""
        return self._quality.part_names | {"latency"}

    def predict(self, context: Context) -> dict[str, Prediction]:
        """One prediction per arm of the context, available or not."""
        predictions = {}
        for arm, estimate in zip(context.arms, self._quality.estimate(context.features, context.arms), strict=True):
            latency_s = self._latency.predict_s(arm)
            cost_usd = arm.price_usd * estimate.price_times
            predictions[arm.name] = Prediction(
                quality=estimate.quality,
                latency_s=latency_s,
                cost_usd=cost_usd,
                utility=utility(context.weights, estimate.quality, latency_s, cost_usd),
            )
        return predictions

    def predict_latency_s(self, arm: ArmContext) -> float:
        """Expected seconds of one arm under its live load."""
        return self._latency.predict_s(arm)

    def predict_quality(self, context: Context, arm: ArmContext) -> float:
        """Expected quality of one arm."""
        return self._quality.estimate(context.features, (arm,))[0].quality

    def learn(self, record: Record, arm: ArmContext) -> None:
        """Fold a checked record; `arm` is the one that truly served. An amending one teaches quality only."""
        quality = self.quality_of(record)
        if quality is not None:
            times = price_times(record.cost_usd, arm.price_usd)
            self._quality.learn(record.context.features, arm, quality, times)
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

    def forget(self, arm: str, keep: float = 0.0) -> None:
        """Keep this share of what the arm's images weigh in its quality; 0 drops the arm, its latency included."""
        self._quality.forget(arm, keep)
        if keep == 0.0:
            self._latency.forget(arm)

    def parts(self) -> dict[str, bytes]:
        """Everything learned, by the names in `part_names`."""
        return {**self._quality.parts(), "latency": self._latency.state()}

    def read(self, parts: dict[str, bytes]) -> OutcomeModel:
        """The model that wrote these parts with equal options. Raises BadState."""
        model = OutcomeModel(self._options, self._quality.read(parts))
        model._latency = LatencyModel.read(parts["latency"], self._options.latency_share)
        return model
