"""The default policy: predict quality, latency and cost of each arm, weigh them as this caller does, explore by gaps.

    utility(arm)  = w.quality * learned quality - w.latency_per_s * predicted latency - w.cost_per_usd * expected cost
    drawn by      utility / w.quality + optimism * spread(arm) - multiplier * expected cost
    probabilities = inverse gap weighting of that, mixed with the exploration floor

The shape of the weighting is SquareCB's, whose theory has gamma grow as the square root of time; 1.5 and the optimism
were chosen on tables of others (docs/routing.md), so no regret bound comes with them.

Weights, limits, prices and load act at once, without anything being learned anew. `spread` is the standard error of the
arm's mean: an arm that a few bad draws made look worse than it is would else never be drawn again (upper confidence
bounds, Auer et al. 2002). `multiplier` is the pacer's, 0 without a budget.

An arm that comes later starts from what its family is known for and is explored as the others were when they came; one
that no context holds any more is forgotten; one whose quality falls is found, see `knowledge.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .context import ArmContext, Context, Decision, Prediction, Record
from .envelope import pack, unpack
from .errors import BadContext, BadRecord, NoArmAvailable, UnknownPolicy
from .features import needs_vector
from .inverse_gap import inverse_gap_rows, inverse_gap_weighting
from .knowledge import KEPT_AFTER_ALARM, Knowledge
from .outcome_model import OutcomeModel, OutcomeOptions
from .pacing import Budget, Pacer
from .policy import decide_by, eligible_arms
from .quality_model import QualityModel
from .ridge_quality import RidgeQuality
from .roster import Roster
from .validation import check_context, check_record
from .vowpal import quality_by_words

Floats = NDArray[np.float64]

LEAST_QUALITY_WEIGHT = 1e-9  # below: the caller does not mind quality
MOST_GAP = 1e6  # between two arms, in images of quality 1: more of it changes no choice, and products stay finite


@dataclass(frozen=True, slots=True)
class FactoredOptions(OutcomeOptions):
    """Options of `factored`. Those in `only_decide` shape decisions and may change without learning anew."""

    floor: float = 0.01  # share of all decisions that are drawn evenly, less so what is dear; see `_even_by_loss`
    gamma_scale: float = 0.3  # gamma(arm) = gamma_scale * (1 + age of the arm) ** gamma_exponent, in 1 / quality
    gamma_exponent: float = 1.5
    optimism: float = 1.0  # standard errors of an arm's mean that are added for its being little known
    budget_usd: float | None = None  # mean cost per image to hold
    budget_usd_per_hour: float | None = None
    quality_model: str = "auto"  # vowpal: from words; ridge: from vectors; auto: ridge where the schema has a vector
    shared_penalty: float = 5.0  # of the ridge regression that all arms share
    own_penalty: float = 20.0  # of what an arm differs by
    buckets: int = 0  # that the ridge regression hashes tokens into
    memory: float = 20_000.0  # samples of an arm that count; older ones fade

    only_decide: ClassVar[frozenset[str]] = frozenset(
        {"floor", "gamma_scale", "gamma_exponent", "optimism", "budget_usd", "budget_usd_per_hour"}
    )

    def __post_init__(self) -> None:
        OutcomeOptions.__post_init__(self)
        if self.budget_usd is not None and self.budget_usd_per_hour is not None:
            raise UnknownPolicy("options budget_usd and budget_usd_per_hour are both given; give one of them")

    def learned_with(self) -> dict[str, object]:
        """All that shapes what is learned; whether there is a budget is part of it, its amount is not."""
        shaping = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.only_decide
        }
        return {**shaping, "paced": bool(self.budget())}

    def budget(self) -> Budget:
        """What may be spent."""
        return Budget(self.budget_usd, self.budget_usd_per_hour)

    def new_quality_model(self) -> QualityModel:
        """With nothing learned."""
        by_vectors = (
            needs_vector(self.features_schema) if self.quality_model == "auto" else self.quality_model == "ridge"
        )
        if by_vectors:
            return RidgeQuality(self.buckets, self.shared_penalty, self.own_penalty, self.memory)
        return quality_by_words(self)


class FactoredPolicy:
    """Learned quality, predicted latency, known cost; SquareCB's exploration on the utility composed from them."""

    name = "factored"

    def __init__(self, options: FactoredOptions | None = None) -> None:
        self.options = options or FactoredOptions()
        self._outcome = OutcomeModel(self.options, self.options.new_quality_model())
        self._knowledge = Knowledge(self.options.memory)
        self._roster = Roster()
        budget = self.options.budget()
        self._pacer = Pacer(budget) if budget else None
        self._learned = 0

    @property
    def rounds(self) -> int:
        """Decisions with a choice whose quality was learned."""
        return self._learned

    @property
    def alarms(self) -> Mapping[str, int]:
        """Falls of quality that were found, by arm."""
        return self._knowledge.alarms

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self.options.features_schema)
        predictions = self._outcome.predict(context)
        arms = eligible_arms(context, {name: one.latency_s for name, one in predictions.items()})
        worths = self._worths(arms, predictions, context.weights.quality)
        floor_shares = _even_by_loss(arms, predictions, context.weights.quality)
        if self._pacer is not None:
            costs_usd = {arm.name: predictions[arm.name].cost_usd for arm in arms}
            multiplier = self._pacer.multiplier
            if not self._pacer.is_settled:
                multiplier = self._pacer.solve_for(worths, costs_usd, self._shares)
            worths = {name: worth - multiplier * costs_usd[name] for name, worth in worths.items()}
            costs = np.array(list(costs_usd.values()))
            floor_shares = _even_by_money(costs, np.ones(len(costs), dtype=bool)).tolist()
        probabilities = {arm.name: 0.0 for arm in context.arms}
        probabilities |= inverse_gap_weighting(worths, {arm.name: self._gamma(arm.name) for arm in arms})
        floor = self.options.floor
        for arm, share in zip(arms, floor_shares, strict=True):
            probabilities[arm.name] = (1.0 - floor) * probabilities[arm.name] + floor * share
        return decide_by(probabilities, context, 0.0, rng, predictions)

    def learn(self, record: Record) -> None:
        """The outcome of whatever arm served, drawn or fallen back to. Raises BadRecord, and then learns nothing.

        A record that amends moves the arm's quality towards the vote. It teaches no latency and is no new decision,
        which would make the choice greedier without any arm having been drawn. Neither is a record whose context left
        no choice (a tier or arm asked for by name), nor one whose quality nobody measured.
        """
        arm = check_record(record, self.options.features_schema)
        quality = self._outcome.quality_of(record)
        eligible = _eligible(record)
        counts = len(eligible) > 1 and not record.amends
        try:
            residual = None if quality is None else quality - self._outcome.predict_quality(record.context, arm)
        except BadContext as error:
            raise BadRecord(f"decision {record.decision_id}: {error}") from error
        self._outcome.learn(record, arm)
        if counts and residual is not None:
            self._learned += 1
            if self._knowledge.learn([one.name for one in eligible], arm.name, residual):
                self._outcome.forget(arm.name, KEPT_AFTER_ALARM)
        if self._pacer is not None and record.own and not record.amends and _has_choice(record):
            self._pace(self._pacer, record, eligible)
        for gone in self._roster.note(one.name for one in record.context.arms):
            self._outcome.forget(gone)
            self._knowledge.forget(gone)

    def state(self) -> bytes:
        """See `envelope`. Raises BadState if the model is not finite."""
        parts = self._outcome.parts() | {"knowledge": self._knowledge.state(), "roster": self._roster.state()}
        if self._pacer is not None:
            parts["pacing"] = self._pacer.state()
        return pack(self.name, self.options.learned_with(), self._learned, parts)

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if these are not the bytes of this policy with these options."""
        names = self._outcome.part_names | Knowledge.part_names | {"roster"}
        names |= frozenset() if self._pacer is None else Pacer.part_names
        learned, parts = unpack(state, self.name, self.options.learned_with(), names)
        outcome, knowledge = self._outcome.read(parts), self._knowledge.read(parts["knowledge"])
        roster = Roster.read(parts["roster"])
        pacer = None if self._pacer is None else self._pacer.read(parts["pacing"])
        self._outcome, self._knowledge, self._roster, self._pacer = outcome, knowledge, roster, pacer
        self._learned = learned

    def _worths(
        self, arms: tuple[ArmContext, ...], predictions: Mapping[str, Prediction], quality_weight: float
    ) -> dict[str, float]:
        # In units of quality, which is what is uncertain: a caller who multiplies all weights by ten asks for the same
        # choice and gets the same exploration.
        worths = {arm.name: predictions[arm.name].utility or 0.0 for arm in arms}
        if not worths:
            return worths
        if quality_weight < LEAST_QUALITY_WEIGHT:
            # A caller who does not mind quality: all is known, and nothing is left to explore for him but the floor.
            best = max(worths.values())
            return {name: 0.0 if worth == best else -MOST_GAP for name, worth in worths.items()}
        spread = self._knowledge.spread
        worths = {name: worth / quality_weight + self.options.optimism * spread(name) for name, worth in worths.items()}
        best = max(worths.values())
        return {name: max(worth, best - MOST_GAP) for name, worth in worths.items()}

    def _gamma(self, arm: str) -> float:
        return self.options.gamma_scale * (1.0 + self._knowledge.age(arm)) ** self.options.gamma_exponent

    def _shares(self, worths: Floats, costs_usd: Floats, names: tuple[str, ...]) -> Floats:
        """What `decide` would draw by, for many decisions at once."""
        drawn = inverse_gap_rows(worths, np.array([self._gamma(name) for name in names]))
        floor = self.options.floor
        return (1.0 - floor) * drawn + floor * _even_by_money(costs_usd, np.isfinite(worths))

    def _pace(self, pacer: Pacer, record: Record, arms: tuple[ArmContext, ...]) -> None:
        told = {arm.name: record.decision.predictions.get(arm.name) for arm in arms}
        predictions = {name: one for name, one in told.items() if one is not None and one.utility is not None}
        known = tuple(arm for arm in arms if arm.name in predictions)
        pacer.learn(
            utilities=self._worths(known, predictions, record.context.weights.quality),
            costs_usd={name: one.cost_usd for name, one in predictions.items()},
            prices_usd={arm.name: arm.price_usd for arm in known},
            spent_usd=record.cost_usd,
            images=record.images,
            at_s=record.decided_at_s,
            shares=self._shares,
        )


def _eligible(record: Record) -> tuple[ArmContext, ...]:
    """The arms that could be drawn: available, and within the caller's limits by what was predicted then."""
    try:
        return eligible_arms(record.context, {name: one.latency_s for name, one in record.decision.predictions.items()})
    except NoArmAvailable:
        return ()  # served by a fallback all the same


def _has_choice(record: Record) -> bool:
    """Whether the router decided at all: a tier or arm that was asked for by name spends nobody's budget."""
    return sum(arm.available for arm in record.context.arms) > 1


def _even_by_loss(
    arms: tuple[ArmContext, ...], predictions: Mapping[str, Prediction], quality_weight: float
) -> list[float]:
    """Shares of the floor that shrink with what an arm is known to cost this caller, in images of quality 1, squared.

    Exploring an arm whose time or price is worth more to the caller than any image could be is paid for in every draw
    and can only teach something for others. It keeps a share, as the log must be able to judge every arm.
    """
    if quality_weight < LEAST_QUALITY_WEIGHT:
        return [1.0 / len(arms)] * len(arms)
    told = [predictions[arm.name] for arm in arms]
    known = [(one.quality or 0.0) - (one.utility or 0.0) / quality_weight for one in told]
    least = min(known)
    weights = [(1.0 + min(loss - least, MOST_GAP)) ** -2 for loss in known]
    total = sum(weights)
    return [weight / total for weight in weights]


def _even_by_money(costs_usd: Floats, there: NDArray[np.bool_]) -> Floats:
    """Shares [..., K] such that exploring costs alike with every arm that is there; free ones count as the cheapest."""
    paid = costs_usd[there & (costs_usd > 0)]
    least = float(paid.min()) if len(paid) else 1.0
    weights = np.where(there, least / np.maximum(costs_usd, least), 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)
