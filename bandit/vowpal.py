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
from hashlib import blake2b
from math import exp
from random import Random
from typing import cast

import numpy as np
import vowpal_wabbit_next as vw

from .context import ArmContext, Context, Decision, Record
from .envelope import pack, unpack
from .errors import BadRecord, BadState, UnknownPolicy
from .outcome_model import OutcomeModel, OutcomeOptions
from .policy import available_arms, decide_by
from .utility import utility, vw_cost
from .validation import check_context, check_record, propensity_describes
from .vowpal_quality import VowpalQuality
from .vowpal_text import kind_text, load_text, name_text, prompt_text, weights_text

# What is known to learn and to give sound probabilities. Not here on purpose: --regcbopt (probabilities that sum to
# 3), --squarecb with --elim (negative ones), --cb_type sm (learns the wrong arm), --daemon (listens on 0.0.0.0), --bag
# (goes on otherwise after a save and a load, and its array of weights ends before it says; see `bootstrap`).
ALLOWED_OPTIONS = (
    *("--bit_precision", "--random_seed", "--noconstant"),
    *("--learning_rate", "--power_t", "--initial_t", "--l2", "--coin", "--sgd", "--adaptive", "--normalized"),
    *("--invariant", "--loss_function", "--quadratic", "--interactions", "--ignore_linear"),
    *("--cb_explore_adf", "--squarecb", "--gamma_scale", "--gamma_exponent"),
    *("--epsilon", "--softmax", "--lambda"),
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


def quality_by_words(options: OutcomeOptions) -> VowpalQuality:
    """A regression of quality with nothing learned."""

    def open_workspace(arguments: tuple[str, ...], model: bytes | None) -> Workspace:
        return Workspace(arguments) if model is None else Workspace.read(arguments, model)

    return VowpalQuality(options.bits, options.learning_rate, open_workspace)


@dataclass(frozen=True, slots=True)
class VowpalOptions(OutcomeOptions):
    """Options of `vowpal`: --cb_explore_adf on one scalar cost; the outcome model beside it only reports.

    Explorations are those whose probabilities were found sound. `bag` gives arms that no member of it likes none, so
    it needs a floor. What the chosen exploration does not use has no effect.

    A bag's members vote: an arm's probability is the share of models that like it best, each of which has learned every
    record as often as `bootstrap` says (Oza & Russell 2001, "Online bagging and boosting"; so does VW's own --bag).
    """

    floor: float = 0.05  # share of all decisions that are drawn uniformly, whatever VW's own exploration
    exploration: str = "squarecb"  # "squarecb" | "epsilon" | "softmax" | "bag"
    gamma_scale: float = 10.0  # VW's own, of --squarecb
    gamma_exponent: float = 0.5
    greedy_epsilon: float = 0.05  # VW's own, of --epsilon; the floor comes on top
    softmax_lambda: float = 20.0  # of --softmax, per unit of cost, which is half a unit of utility
    bag_size: int = 5  # models of the bag, each learning its own draw of the records
    scalar_learning_rate: float = 0.1  # of the bandit's regression
    arm_features: str = "described"  # by name, price class, size, family and preset; "named": by name alone

    def __post_init__(self) -> None:
        OutcomeOptions.__post_init__(self)
        if self.exploration == "bag" and self.floor <= 0:
            raise UnknownPolicy(
                f"option floor is {self.floor!r} with exploration 'bag', which gives some arms no probability at all; "
                "allowed: a floor above 0, so that the log can judge every arm"
            )

    def learned_with(self) -> dict[str, object]:
        """All but the floor: VW keeps the others in its model."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "floor"}

    def members(self) -> tuple[str, ...]:
        """Names of the bandit's models, as the parts of a state are called."""
        return tuple(f"bandit{i}" for i in range(self.bag_size)) if self.exploration == "bag" else ("bandit",)

    def bandit(self) -> tuple[str, ...]:
        """Options of the bandit's workspace, or of each of a bag's."""
        explorations = {
            "squarecb": (
                *("--squarecb", "--gamma_scale", repr(self.gamma_scale)),
                *("--gamma_exponent", repr(self.gamma_exponent)),
            ),
            "epsilon": ("--epsilon", repr(self.greedy_epsilon)),
            "softmax": ("--softmax", "--lambda", repr(self.softmax_lambda)),
            "bag": ("--epsilon", "0"),  # of each member
        }
        return (
            *("--cb_explore_adf", *explorations[self.exploration]),
            *("--cb_type", "mtr", "--cb_min_cost", "0", "--cb_max_cost", "1"),
            *("--bit_precision", str(self.bits), "--learning_rate", repr(self.scalar_learning_rate)),
            *("--quadratic", "pa"),
            *(("--quadratic", "pk") if self.arm_features == "described" else ()),
        )


class VowpalPolicy:
    """The simple alternative, and what `factored` is tested against: one scalar reward, one VW policy.

    The caller's weights are features here, so every mix of weights has to be learned from outcomes; only what time and
    money cost this caller now is told outright, as the feature `penalty`.
    """

    name = "vowpal"

    def __init__(self, options: VowpalOptions | None = None) -> None:
        self.options = options or VowpalOptions()
        self._members = {name: Workspace(self.options.bandit()) for name in self.options.members()}
        self._outcome = OutcomeModel(self.options, quality_by_words(self.options))
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self.options.features_schema)
        arms = available_arms(context)
        predictions = self._outcome.predict(context)
        lines = self._lines(context, arms)
        votes = [member.predict_actions(lines) for member in self._members.values()]
        shown = [sum(vote) / len(votes) for vote in zip(*votes, strict=True)]
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
            lines = self._lines(record.context, arms)
            position = 1 + arms.index(arm)
            lines[position] = f"0:{cost:.6g}:{record.decision.propensity:.6g} {lines[position]}"
            for name, member in self._members.items():
                for _ in range(bootstrap(record.decision_id, name) if len(self._members) > 1 else 1):
                    member.learn_actions(lines)
        self._outcome.learn(record, arm)
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`. Raises BadState if a model is not finite."""
        parts = self._outcome.parts() | {name: member.serialize() for name, member in self._members.items()}
        return pack(self.name, self.options.learned_with(), self._learned, parts)

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if these are not the bytes of this policy with these options."""
        learned, parts = unpack(
            state, self.name, self.options.learned_with(), self._outcome.part_names | self._members.keys()
        )
        members = {name: Workspace.read(self.options.bandit(), parts[name]) for name in self._members}
        outcome = self._outcome.read(parts)
        self._members, self._outcome, self._learned = members, outcome, learned

    def _lines(self, context: Context, arms: tuple[ArmContext, ...]) -> list[str]:
        weights = context.weights
        described = self.options.arm_features == "described"
        lines = [f"shared {prompt_text(context.features)}{weights_text(weights)}"]
        for arm in arms:
            latency_s = self._outcome.predict_latency_s(arm)
            penalty = weights.latency_per_s * latency_s + weights.cost_per_usd * arm.price_usd
            line = name_text(arm.name)
            if described:
                line += kind_text(arm.preset, arm.family, arm.price_usd, arm.service_s)
            lines.append(line + load_text(arm, latency_s, penalty))
        return lines


def bootstrap(decision_id: str, member: str) -> int:
    """How often one member of a bag learns one decision: Poisson(1), by a hash, so that equal folds are equal.

    A vote that comes later is learned by the members that learned its decision, as often.
    """
    digest = blake2b(f"{member}:{decision_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    left = int.from_bytes(digest, "big") / 2**64
    times, probability = 0, exp(-1.0)
    while left >= probability and times < 10:  # more than ten: once in 100 million
        left -= probability
        times += 1
        probability /= times
    return times
