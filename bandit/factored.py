"""The default policy: predict quality, latency and cost of each arm, weigh them as this caller does, explore by gaps.

    utility(arm) = w.quality * learned quality - w.latency_per_s * predicted latency - w.cost_per_usd * known price
    probabilities = inverse gap weighting of the utilities, mixed with the exploration floor

Weights, prices and load act at once, without anything being learned anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .context import Context, Decision, Record
from .envelope import pack, unpack
from .inverse_gap import inverse_gap_weighting
from .outcome_model import PARTS, OutcomeModel, OutcomeOptions
from .policy import available_arms, decide_by
from .validation import check_context, check_record
from .vowpal import Workspace


@dataclass(frozen=True, slots=True)
class FactoredOptions(OutcomeOptions):
    """Options of `factored`. The three below only shape decisions and may change without learning anew."""

    floor: float = 0.05  # share of all decisions that are drawn uniformly
    gamma_scale: float = 30.0  # gamma = gamma_scale * (1 + rounds learned) ** gamma_exponent, in 1 / quality
    gamma_exponent: float = 0.5


class FactoredPolicy:
    """Learned quality, predicted latency, known cost; SquareCB's exploration on the utility composed from them."""

    name = "factored"

    def __init__(self, options: FactoredOptions | None = None) -> None:
        self.options = options or FactoredOptions()
        self._outcome = OutcomeModel(self.options, Workspace)
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self.options.features_schema)
        arms = available_arms(context)
        predictions = self._outcome.predict(context)
        # Gaps are measured in quality, which is what is uncertain: a caller who multiplies all weights by ten asks
        # for the same choice and gets the same exploration.
        unit = context.weights.quality or 1.0
        gamma = self.options.gamma_scale * (1 + self._learned) ** self.options.gamma_exponent / unit
        probabilities = {arm.name: 0.0 for arm in context.arms}
        probabilities |= inverse_gap_weighting({arm.name: predictions[arm.name].utility or 0.0 for arm in arms}, gamma)
        return decide_by(probabilities, context, self.options.floor, rng, predictions)

    def learn(self, record: Record) -> None:
        """The outcome of whatever arm served, drawn or fallen back to. Raises BadRecord, and then learns nothing.

        A record that amends moves the arm's quality towards the vote. It teaches no latency and is no new round for
        `gamma`, which would make the choice greedier without any arm having been drawn. Neither is a record whose
        context left no choice (a tier or arm asked for by name), nor one whose quality nobody measured.
        """
        arm = check_record(record, self.options.features_schema)
        self._outcome.learn(record, arm)
        chosen = sum(one.available for one in record.context.arms) > 1
        measured = self._outcome.quality_of(record) is not None
        self._learned += chosen and measured and not record.amends

    def state(self) -> bytes:
        """See `envelope`. Raises BadState if the model is not finite."""
        return pack(self.name, self.options.learned_with(), self._learned, self._outcome.parts())

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if these are not the bytes of this policy with these options."""
        learned, parts = unpack(state, self.name, self.options.learned_with(), PARTS)
        outcome = OutcomeModel.read(self.options, parts, Workspace.read)
        self._outcome, self._learned = outcome, learned
