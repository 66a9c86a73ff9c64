"""The only file that knows Vowpal Wabbit: a checked workspace, and the policy that gives it one scalar reward.

`Workspace` is what the other learning policies build on: an allow-list of options, text lines in, canonical bytes out.

Equal folds give equal bytes, whatever was asked in between and wherever the fold was cut. VW's own bytes do not do
that: beside the model they carry counters of progressive loss, which a load resets, and the weight of all examples
seen, which predictions raise. So `Workspace.serialize` writes what a load and a save make of the model (all learned
state: weights, adaptive sums, label range, squarecb's round; no counters), and what is asked weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from random import Random
from typing import cast

import numpy as np
import vowpal_wabbit_next as vw

from .context import ArmContext, Context, Decision, Record
from .envelope import pack, unpack
from .errors import BadRecord, BadState, UnknownPolicy
from .outcome_model import PARTS, OutcomeModel, OutcomeOptions
from .policy import available_arms, decide_by
from .utility import utility, vw_cost
from .validation import check_context, check_record, propensity_describes
from .vowpal_text import arm_text, load_text, prompt_text, weights_text

# What is known to learn and to give sound probabilities. Not here on purpose: --regcbopt (probabilities that sum to
# 3), --squarecb with --elim (negative ones), --cb_type sm (learns the wrong arm), --daemon (listens on 0.0.0.0).
ALLOWED_OPTIONS = (
    *("--bit_precision", "--random_seed", "--noconstant"),
    *("--learning_rate", "--power_t", "--initial_t", "--l2", "--coin", "--sgd", "--adaptive", "--normalized"),
    *("--invariant", "--loss_function", "--quadratic", "--interactions", "--ignore_linear"),
    *("--cb_explore_adf", "--squarecb", "--gamma_scale", "--gamma_exponent"),
    *("--cb_type", "--cb_min_cost", "--cb_max_cost"),
)


class Workspace:
    """One VW model: text in, numbers out. Not safe for threads; not picklable; `serialize` and `read` move it."""

    def __init__(self, options: Iterable[str], model: bytes | None = None) -> None:
        self._options = tuple(options)
        for option in self._options:
            if option.startswith("--") and option not in ALLOWED_OPTIONS:
                raise UnknownPolicy(f"VW option {option} is not allowed; allowed: {', '.join(ALLOWED_OPTIONS)}")
        try:
            self._vw = vw.Workspace(["--quiet", *self._options], model_data=model)
        except RuntimeError as error:
            if model is None:
                raise UnknownPolicy(f"VW refused the options {' '.join(self._options)}: {error}") from error
            raise BadState(f"VW refused the model: {error}") from error
        self._parser = vw.TextFormatParser(self._vw)

    def predict(self, line: str) -> float:
        """Prediction of a regressor for one line."""
        weightless = "0 0 " + line  # label, weight: neither is used to predict, see the module's docstring
        return cast(float, self._vw.predict_one(self._parser.parse_line(weightless)))

    def learn(self, line: str) -> None:
        """One labelled line for a regressor."""
        self._vw.learn_one(self._parser.parse_line(line))

    def predict_actions(self, lines: Iterable[str]) -> list[float]:
        """Probabilities of a --cb_explore_adf model, in the order of the action lines; the shared line comes first."""
        examples = [self._parser.parse_line(line) for line in lines]
        for position, example in enumerate(examples):
            example.set_label(vw.CBLabel(weight=0.0, shared=position == 0))
        scored = cast("list[tuple[int, float]]", self._vw.predict_one(examples))
        probabilities = [0.0] * len(scored)
        for action, probability in scored:
            probabilities[action] = probability
        return probabilities

    def learn_actions(self, lines: Iterable[str]) -> None:
        """One decision for a --cb_explore_adf model; exactly one action line is labelled."""
        self._vw.learn_one([self._parser.parse_line(line) for line in lines])

    def serialize(self) -> bytes:
        """Canonical bytes of the model. Raises BadState if a weight is not finite."""
        if not np.isfinite(self._vw.weights()).all():
            raise BadState("a weight of the model is not finite; it must not be published")
        return vw.Workspace(["--quiet", *self._options], model_data=self._vw.serialize()).serialize()

    @classmethod
    def read(cls, options: Iterable[str], model: bytes) -> Workspace:
        """The model that wrote these bytes with the same options. Raises BadState."""
        workspace = cls(options, model=model)
        if not np.isfinite(workspace._vw.weights()).all():
            raise BadState("a weight of the model is not finite")
        return workspace


@dataclass(frozen=True, slots=True)
class VowpalOptions(OutcomeOptions):
    """Options of `vowpal`: --cb_explore_adf --squarecb on one scalar cost; the outcome model beside it only reports."""

    floor: float = 0.05  # share of all decisions that are drawn uniformly
    gamma_scale: float = 10.0  # VW's own, of --squarecb
    gamma_exponent: float = 0.5
    scalar_learning_rate: float = 0.5  # of the bandit's regression

    def learned_with(self) -> dict[str, object]:
        """All but the floor: VW keeps the others in its model."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "floor"}

    def bandit(self) -> tuple[str, ...]:
        """Options of the bandit's workspace."""
        return (
            *("--cb_explore_adf", "--squarecb", "--cb_type", "mtr", "--cb_min_cost", "0", "--cb_max_cost", "1"),
            *("--gamma_scale", repr(self.gamma_scale), "--gamma_exponent", repr(self.gamma_exponent)),
            *(
                "--bit_precision",
                str(self.bits),
                "--learning_rate",
                repr(self.scalar_learning_rate),
                "--quadratic",
                "pa",
            ),
        )


class VowpalPolicy:
    """The simple alternative, and what `factored` is tested against: one scalar reward, one VW policy.

    The caller's weights are features here, so every mix of weights has to be learned from outcomes; only what time and
    money cost this caller now is told outright, as the feature `penalty`.
    """

    name = "vowpal"

    def __init__(self, options: VowpalOptions | None = None) -> None:
        self.options = options or VowpalOptions()
        self._bandit = Workspace(self.options.bandit())
        self._outcome = OutcomeModel(self.options, Workspace)
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self.options.features_schema)
        arms = available_arms(context)
        predictions = self._outcome.predict(context)
        shown = self._bandit.predict_actions(_lines(context, arms, self._outcome))
        probabilities = {arm.name: 0.0 for arm in context.arms}
        probabilities |= {arm.name: probability for arm, probability in zip(arms, shown, strict=True)}
        return decide_by(probabilities, context, self.options.floor, rng, predictions)

    def learn(self, record: Record) -> None:
        """Fold the outcome; the bandit only learns what was served as drawn. Raises BadRecord, then learns nothing.

        A record that amends gives the bandit the same draw once more, with the cost of the quality moved towards the
        vote (latency and price are in that cost as before); the outcome model learns its quality, not its latency.
        A declared default quality is not learned: without a rating such a record teaches latency only. For more than
        one image the cost holds the latency predicted for one, as none was measured.
        """
        arm = check_record(record, self.options.features_schema)
        try:
            quality = self._outcome.quality_of(record)
            latency_s = record.latency_s if record.images == 1 else self._outcome.predict_latency_s(arm)
            cost = vw_cost(utility(record.context.weights, quality or 0.0, latency_s, record.cost_usd))
        except ValueError as error:
            raise BadRecord(f"decision {record.decision_id}: {error}") from error
        if quality is not None and propensity_describes(record):
            arms = available_arms(record.context)
            lines = _lines(record.context, arms, self._outcome)
            position = 1 + arms.index(arm)
            lines[position] = f"0:{cost:.6g}:{record.decision.propensity:.6g} {lines[position]}"
            self._bandit.learn_actions(lines)
        self._outcome.learn(record, arm)
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`. Raises BadState if a model is not finite."""
        parts = self._outcome.parts() | {"bandit": self._bandit.serialize()}
        return pack(self.name, self.options.learned_with(), self._learned, parts)

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if these are not the bytes of this policy with these options."""
        learned, parts = unpack(state, self.name, self.options.learned_with(), PARTS | {"bandit"})
        bandit = Workspace.read(self.options.bandit(), parts["bandit"])
        outcome = OutcomeModel.read(self.options, parts, Workspace.read)
        self._bandit, self._outcome, self._learned = bandit, outcome, learned


def _lines(context: Context, arms: tuple[ArmContext, ...], outcome: OutcomeModel) -> list[str]:
    weights = context.weights
    lines = [f"shared {prompt_text(context.features)}{weights_text(weights)}"]
    for arm in arms:
        latency_s = outcome.predict_latency_s(arm)
        penalty = weights.latency_per_s * latency_s + weights.cost_per_usd * arm.price_usd
        lines.append(arm_text(arm.name, arm.tier, arm.preset, arm.family) + load_text(arm, latency_s, penalty))
    return lines
