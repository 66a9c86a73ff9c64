"""What a policy sees and what it answers: frozen values without behaviour.

Everything here is plain data, so that a decision can be written to the journal, read back and replayed.
Policies live in files of their own (`fixed.py`, `uniform.py`, `vowpal.py`), the protocol in `policy.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Weights:
    """What a caller pays for, in utility: U = quality * q - latency_per_s * seconds - cost_per_usd * USD."""

    quality: float = 1.0
    latency_per_s: float = 0.0
    cost_per_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings that a caller sets on one image; None: no ceiling."""

    latency_s: float | None = None  # expected seconds from dispatch to image
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class ArmContext:
    """One choosable arm (a tier with a preset) and the state of its tier at decision time."""

    name: str  # "flow@standard"
    tier: str  # "flow"
    preset: str  # "standard"
    family: str  # "gan" | "diffusion" | "flow" | any word of [a-z0-9_]; lets a new tier start from its likes
    price_usd: float  # per image
    service_s: float  # expected seconds of work per image, from the catalogue's estimate or measured since
    in_flight: int = 0  # requests this gateway has sent to the tier and not seen answered
    replicas: int = 1  # replicas that share them
    batch: int = 1  # images that one replica draws at once, at most
    available: bool = True  # False: circuit open, scaled away or removed; a policy must give it probability 0


@dataclass(frozen=True, slots=True)
class PromptFeatures:
    """Versioned features of one prompt. Raw text never goes further than `features.extract`."""

    schema: str  # name and version of the feature set, e.g. "words-1"
    numeric: Mapping[str, float]  # finite, roughly in [-1, 1]; names of [a-z0-9_]
    tokens: tuple[str, ...]  # sanitised tokens of [a-z0-9_], each once
    vector: tuple[float, ...] = ()  # of a sentence encoder, where the schema has one


@dataclass(frozen=True, slots=True)
class Context:
    """All that a decision may depend on."""

    features: PromptFeatures
    arms: tuple[ArmContext, ...]
    weights: Weights = field(default_factory=Weights)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the policy expects of one arm. `quality` is None where the policy has no model of it."""

    quality: float | None
    latency_s: float
    cost_usd: float
    utility: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """An arm drawn from `probabilities`; `propensity` is the mixed probability with which it was drawn."""

    arm: str
    propensity: float
    probabilities: Mapping[str, float]  # every arm of the context, sums to 1
    predictions: Mapping[str, Prediction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One closed join, as the learner folds it: what was seen, drawn and served, and what came of it.

    `quality` is the scorer's, in [0, 1], or the declared default (then `quality_is_default`), which stands in reports
    and off-policy rewards and teaches no policy anything; `rating` is a user's vote in [0, 1] or None.

    `latency_s` is what the served arm itself took, without arms tried before it; the caller's wait is the outcome's.
    `late` are arms that were given up before, each with the seconds after which that was. `cost_usd` is per image.
    Of more than one `images`, latency is not learned: what one of them would have taken was not measured.

    `served_arm` differs from `decision.arm` after a fallback:
    then the propensity does not describe what was served, and policies that need it must not learn from it.

    `variant` is the experiment's variant that decided ("experiment:variant"), None outside of experiments.

    `amends`: this decision was folded before, and only the rating is new. Quality, latency and cost are those of
    then, so that a policy can weigh the vote against them; what it took from them it must not take again.
    """

    decision_id: str
    context: Context
    decision: Decision
    served_arm: str
    latency_s: float
    cost_usd: float
    quality: float
    quality_is_default: bool = False
    rating: float | None = None
    amends: bool = False
    images: int = 1
    late: tuple[tuple[str, float], ...] = ()
    variant: str | None = None
    own: bool = True  # decided by the very policy that learns it; set by the fold, not stored
    decided_at_s: float = 0.0  # Unix time of the gateway that decided; no clock is asked when a record is learned
