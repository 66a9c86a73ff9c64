"""Decides in process with the newest snapshot; a policy that misbehaves is replaced for that request.

The catalogue's fallback policy decides then, and an even draw where that fails too. What is logged is always the
distribution that was really drawn from, and the name says whose it was.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from bandit.context import ArmContext, Context, Decision, Limits
from bandit.errors import NoArmAvailable
from bandit.experiments.state import LivePolicy
from bandit.features import DEFAULT_SCHEMA, as_schema
from bandit.latency import crowding
from bandit.policies import build
from bandit.policy import Policy, draw, eligible_arms

from .catalogue import PolicyChoice

logger = logging.getLogger("ray.serve")

_TOLERANCE = 1e-6
_FAULT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with the snapshot that it was restored from. Replaced as a whole, never changed."""

    policy: Policy
    version: int | None  # None: as built, nothing learned yet
    created_at_s: float | None  # Unix time of the snapshot


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and who made it: the policy's name, or "fallback:" and the name of who stood in.

    `fault` says how the policy misbehaved, None if it did not.
    """

    decision: Decision
    policy: str
    version: int | None
    fault: str | None = None


def catalogue_policy(choice: PolicyChoice) -> LivePolicy:
    """The catalogue's policy, which is live while nothing is promoted; its snapshots go by its name."""
    return LivePolicy(choice.name, choice.policy_options(), choice.name)


def build_policy(choice: PolicyChoice) -> Policy:
    """The catalogue's policy with nothing learned. Raises UnknownPolicy."""
    return build(choice.name, choice.policy_options())


def features_schema(options: Mapping[str, Any]) -> str:
    """Which features of a prompt a policy with these options understands."""
    return str(options.get("features_schema", DEFAULT_SCHEMA))


class Decider:
    """Holds one policy in use. `swap` may be called from another thread; `decide` belongs to the event loop."""

    def __init__(
        self,
        policy: Policy,
        fallback: Policy,
        rng: Random,
        *,
        features_schema: str = DEFAULT_SCHEMA,
        snapshot_name: str | None = None,
    ) -> None:
        """`snapshot_name`: under which its snapshots are published; None: the policy's name."""
        self._loaded = Loaded(policy, None, None)
        self._fallback = fallback
        self._rng = rng
        self.features_schema = features_schema
        self.snapshot_name = snapshot_name or policy.name

    @property
    def loaded(self) -> Loaded:
        """The policy in use."""
        return self._loaded

    def swap(self, loaded: Loaded) -> None:
        """Use another policy from the next decision on."""
        self._loaded = loaded

    def decide(self, context: Context) -> Decided:
        """Draw an arm. Raises NoArmAvailable, and nothing else."""
        _check_available(context)
        loaded = self._loaded
        decision, fault = _sound(loaded.policy, self._own(context), self._rng)
        if decision is not None:
            return Decided(decision, loaded.policy.name, loaded.version)
        return self._stand_in(context, fault)

    def stand_in(self, context: Context) -> Decided:
        """Let the fallback decide, though the policy did nothing wrong. Raises NoArmAvailable, and nothing else."""
        _check_available(context)
        return self._stand_in(context, None)

    def try_out(self, context: Context, rng: Random) -> Decided | str:
        """What the policy would decide, with a random source of its own; or how it misbehaved. Nobody stands in."""
        loaded = self._loaded
        decision, fault = _sound(loaded.policy, self._own(context), rng)
        return fault if decision is None else Decided(decision, loaded.policy.name, loaded.version)

    def _own(self, context: Context) -> Context:
        """With the features that the policy understands, if they are all there; a policy refuses others by itself."""
        features = as_schema(context.features, self.features_schema)
        return context if features is None or features is context.features else replace(context, features=features)

    def _stand_in(self, context: Context, fault: str | None) -> Decided:
        decision, _ = _sound(self._fallback, context, self._rng)
        if decision is not None:
            return Decided(decision, f"fallback:{self._fallback.name}", None, fault)
        return Decided(even(context, self._rng), "fallback:even", None, fault)


def _check_available(context: Context) -> None:
    if not any(arm.available for arm in context.arms):
        raise NoArmAvailable(f"no arm is available: {', '.join(arm.name for arm in context.arms) or 'none exist'}")


def _sound(policy: Policy, context: Context, rng: Random) -> tuple[Decision | None, str]:
    """The policy's decision; None where it raised or answered what cannot be, and in words how."""
    try:
        decision = policy.decide(context, rng)
        fault = fault_of(decision, context)
    except Exception as error:  # a request is worth more than a policy; counted, logged and named in the journal
        logger.exception("policy %s raised", policy.name)
        return None, f"policy {policy.name} raised {type(error).__name__}: {error}"[:_FAULT_CHARACTERS]
    if fault is None:
        return decision, ""
    logger.error("policy %s gave a decision that cannot be: %s", policy.name, fault)
    return None, f"policy {policy.name} gave a decision that cannot be: {fault}"


def fault_of(decision: Decision, context: Context) -> str | None:
    """What is wrong with a decision: None, or one word for the log."""
    probabilities = decision.probabilities
    total = 0.0
    for arm in context.arms:
        probability = probabilities.get(arm.name)
        if probability is None:
            return "arm_missing"
        if not (math.isfinite(probability) and probability >= 0):
            return "bad_probability"
        if probability > 0 and not arm.available:
            return "unavailable_arm"
        total += probability
    if len(probabilities) != len(context.arms):
        return "unknown_arm"
    if abs(total - 1) > _TOLERANCE:
        return "bad_sum"
    if decision.propensity <= 0 or abs(probabilities.get(decision.arm, -1.0) - decision.propensity) > _TOLERANCE:
        return "bad_propensity"
    return None


def even(context: Context, rng: Random) -> Decision:
    """Every arm that is available and within the caller's ceilings with the same probability."""
    eligible = {arm.name for arm in eligible_arms(context)}
    probabilities = {arm.name: 1 / len(eligible) if arm.name in eligible else 0.0 for arm in context.arms}
    arm = draw(probabilities, rng)
    return Decision(arm, probabilities[arm], probabilities)


def meets_limits(context: Context, decision: Decision, arm: ArmContext) -> bool | None:
    """Whether an arm is within the caller's ceilings, by the policy's prediction or, without one, the catalogue's.

    None: there are no ceilings. A policy draws an arm beyond them only if none is within.
    """
    if context.limits == Limits():
        return None
    prediction = decision.predictions.get(arm.name)
    return within_limits(context.limits, arm, None if prediction is None else prediction.latency_s)


def within_limits(limits: Limits, arm: ArmContext, expected_s: float | None = None) -> bool:
    """Whether an arm is within ceilings; without `expected_s` by the catalogue's time under the tier's live load."""
    if limits.cost_usd is not None and arm.price_usd > limits.cost_usd:
        return False
    if limits.latency_s is None:
        return True
    return (arm.service_s * crowding(arm) if expected_s is None else expected_s) <= limits.latency_s


def age_s(loaded: Loaded, clock: Callable[[], float] = time.time) -> float | None:
    """Seconds since the snapshot was made, None without one."""
    return None if loaded.created_at_s is None else max(0.0, clock() - loaded.created_at_s)
