"""What the baselines that learn have in common: quality is learned their way, the rest of the utility is known.

    worth(arm) = w.quality * learned quality - w.latency_per_s * predicted latency - w.cost_per_usd * known price

So the caller's weights, prices and load act at once in all of them, as in `factored`, and what they are compared in is
how they learn and explore. For one kind of caller at constant prices, this is the algorithm on the scalar utility: the
means and regressions used are linear in what they average.

A subclass says what learns the quality (`_model`) and how worths become probabilities (`_shares`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar, Protocol

from .context import ArmContext, Context, Decision, Prediction, Record
from .envelope import pack, unpack
from .errors import BadContext, BadRecord
from .latency import LatencyModel
from .options import check_ranges
from .policy import decide_by, eligible_arms
from .utility import utility
from .validation import check_context, check_record


class ArmModel(Protocol):
    """Learns the quality of each arm; `read` makes a model like this one from what `parts` gave."""

    part_names: frozenset[str]

    def estimate(self, context: Context) -> dict[str, tuple[float, float]]: ...
    def learn(self, context: Context, arm: ArmContext, quality: float | None) -> None: ...
    def parts(self) -> dict[str, bytes]: ...
    def read(self, parts: dict[str, bytes]) -> ArmModel: ...


@dataclass(frozen=True, slots=True)
class ComposedOptions:
    """Options that all of these policies have."""

    floor: float = 0.05  # share of all decisions that are drawn uniformly
    latency_share: float = 0.05  # of one new latency in the running mean
    rating_share: float = 0.5  # of a user's rating in what is learned, where there is one; the rest is the scorer's
    features_schema: str = "words-1"

    only_decide: ClassVar[frozenset[str]] = frozenset({"floor"})  # may change without learning anew

    def __post_init__(self) -> None:
        check_ranges(self)

    def learned_with(self) -> dict[str, object]:
        """The options that a state must have been learned with to be of use here."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.only_decide}


class ComposedPolicy:
    """Decide, learn, state and restore of a policy whose quality is learned per arm."""

    name: str

    def __init__(self, options: ComposedOptions, model: ArmModel) -> None:
        self._options = options
        self._model = model
        self._latency = LatencyModel(options.latency_share)
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self._options.features_schema)
        weights = context.weights
        estimates = self._model.estimate(context)
        predictions, worths = {}, {}
        for arm in context.arms:
            mean = estimates[arm.name][0]
            quality = min(max(mean, 0.0), 1.0)
            latency_s = self._latency.predict_s(arm)
            worth = utility(weights, quality, latency_s, arm.price_usd)
            predictions[arm.name] = Prediction(quality, latency_s, arm.price_usd, worth)
            worths[arm.name] = worth + weights.quality * (mean - quality)  # what explores is not clipped
        # An arm beyond the caller's limits must not be the best one: it would leave the choice to the floor.
        eligible = eligible_arms(context, {name: one.latency_s for name, one in predictions.items()})
        doubts = [weights.quality * estimates[arm.name][1] for arm in eligible]
        shares = self._shares([worths[arm.name] for arm in eligible], doubts, rng)
        probabilities = {arm.name: 0.0 for arm in context.arms}
        for arm, share in zip(eligible, shares, strict=True):
            probabilities[arm.name] = share
        return decide_by(probabilities, context, self._options.floor, rng, predictions)

    def learn(self, record: Record) -> None:
        """The outcome of whatever arm served, drawn or fallen back to. Raises BadRecord, and then learns nothing.

        A record that amends (a vote that came later) is one more example whose quality is moved towards the vote, and
        teaches no latency. A declared default quality was measured by nobody and is not learned.
        """
        arm = check_record(record, self._options.features_schema)
        try:
            self._model.learn(record.context, arm, self._quality_of(record))
        except BadContext as error:
            raise BadRecord(f"decision {record.decision_id}: {error}") from error
        if not record.amends and record.images == 1:
            arms = {one.name: one for one in record.context.arms}
            for name, elapsed_s in record.late:
                if name in arms:
                    self._latency.learn_at_least(arms[name], elapsed_s)
            self._latency.learn(arm, record.latency_s)
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`. Raises BadState if the model is not finite."""
        parts = self._model.parts() | {"latency": self._latency.state()}
        return pack(self.name, self._options.learned_with(), self._learned, parts)

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if these are not the bytes of this policy with these options."""
        names = self._model.part_names | {"latency"}
        learned, parts = unpack(state, self.name, self._options.learned_with(), names)
        latency = LatencyModel.read(parts["latency"], self._options.latency_share)
        self._model, self._latency, self._learned = self._model.read(parts), latency, learned

    def _shares(self, worths: Sequence[float], doubts: Sequence[float], rng: Random) -> Sequence[float]:
        """Probabilities of the eligible arms before the floor; `doubts` are one standard width of each worth."""
        raise NotImplementedError

    def _quality_of(self, record: Record) -> float | None:
        """The scorer's quality, moved towards the user's rating; the rating alone where the scorer said nothing."""
        if record.quality_is_default or record.rating is None:
            return record.rating if record.quality_is_default else record.quality
        share = self._options.rating_share
        return (1 - share) * record.quality + share * record.rating


def all_on_best(worths: Sequence[float]) -> list[float]:
    """1 for the first of the best, 0 for the others."""
    shares = [0.0] * len(worths)
    shares[worths.index(max(worths))] = 1.0
    return shares
