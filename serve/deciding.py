"""Decides in process with the newest snapshot; a policy that misbehaves is replaced for that request.

The catalogue's fallback policy decides then, and an even draw where that fails too. What is logged is always the
distribution that was really drawn from, and the name says whose it was.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bandit.context import Context, Decision
from bandit.errors import NoArmAvailable
from bandit.policies import build
from bandit.policy import Policy, draw

from .catalogue import PolicyChoice

logger = logging.getLogger("ray.serve")

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with the snapshot that it was restored from. Replaced as a whole, never changed."""

    policy: Policy
    version: int | None  # None: as built, nothing learned yet
    created_at_s: float | None  # Unix time of the snapshot


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and who made it: the policy's name, or "fallback:" and the name of who stood in."""

    decision: Decision
    policy: str
    version: int | None


def build_policy(choice: PolicyChoice) -> Policy:
    """The catalogue's policy with nothing learned. Raises UnknownPolicy."""
    return build(choice.name, choice.policy_options())


class Decider:
    """Holds the policy in use. `swap` may be called from another thread; `decide` belongs to the event loop."""

    def __init__(self, policy: Policy, fallback: Policy, rng: Random) -> None:
        self._loaded = Loaded(policy, None, None)
        self._fallback = fallback
        self._rng = rng
        self.fallbacks = 0

    @property
    def loaded(self) -> Loaded:
        """The policy in use."""
        return self._loaded

    def swap(self, loaded: Loaded) -> None:
        """Use another policy from the next decision on."""
        self._loaded = loaded

    def decide(self, context: Context) -> Decided:
        """Draw an arm. Raises NoArmAvailable, and nothing else."""
        if not any(arm.available for arm in context.arms):
            raise NoArmAvailable(f"no arm is available: {', '.join(arm.name for arm in context.arms) or 'none exist'}")
        loaded = self._loaded
        decision = self._sound(loaded.policy, context)
        if decision is not None:
            return Decided(decision, loaded.policy.name, loaded.version)
        self.fallbacks += 1
        decision = self._sound(self._fallback, context)
        if decision is not None:
            return Decided(decision, f"fallback:{self._fallback.name}", None)
        return Decided(even(context, self._rng), "fallback:even", None)

    def _sound(self, policy: Policy, context: Context) -> Decision | None:
        """The policy's decision, None where it raised or answered what cannot be."""
        try:
            decision = policy.decide(context, self._rng)
        except Exception:  # a request is worth more than a policy; counted, logged and named in the journal
            logger.exception("policy %s raised", policy.name)
            return None
        fault = fault_of(decision, context)
        if fault is None:
            return decision
        logger.error("policy %s gave a decision that cannot be: %s", policy.name, fault)
        return None


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
    """Every available arm with the same probability."""
    count = sum(arm.available for arm in context.arms)
    probabilities = {arm.name: 1 / count if arm.available else 0.0 for arm in context.arms}
    arm = draw(probabilities, rng)
    return Decision(arm, probabilities[arm], probabilities)


def age_s(loaded: Loaded, clock: Callable[[], float] = time.time) -> float | None:
    """Seconds since the snapshot was made, None without one."""
    return None if loaded.created_at_s is None else max(0.0, clock() - loaded.created_at_s)
