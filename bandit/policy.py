"""The contract of every policy, and the exploration floor that all of them share.

context -> Policy.decide(context, rng) -> Decision       (pure but for rng; microseconds; no I/O)
Record  -> Policy.learn(record)                           (only the learner calls it)
Policy.state() -> bytes; Policy.restore(bytes)            (byte-identical after the same fold)
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Protocol

from .context import ArmContext, Context, Decision, Prediction, Record
from .errors import NoArmAvailable
from .latency import crowding


class Policy(Protocol):
    """Chooses an arm for a context, and learns from what came of it."""

    name: str

    def decide(self, context: Context, rng: Random) -> Decision:
        """Draw an arm among the available ones. Raises NoArmAvailable if there is none."""

    def learn(self, record: Record) -> None:
        """Fold one closed join into the state. Deterministic: no clock, no global randomness."""

    def state(self) -> bytes:
        """Everything learned, as bytes that `restore` takes. Never a pickle."""

    def restore(self, state: bytes) -> None:
        """Replace what was learned. Raises BadState, and stays as it was, if the bytes are not ours."""


def available_arms(context: Context) -> tuple[ArmContext, ...]:
    """The arms that may be drawn. Raises NoArmAvailable if there is none."""
    arms = tuple(arm for arm in context.arms if arm.available)
    if not arms:
        names = ", ".join(arm.name for arm in context.arms) or "none at all"
        raise NoArmAvailable(f"no arm is available (arms of the catalogue: {names}); wait, or start a tier")
    return arms


def eligible_arms(context: Context, latency_s: Mapping[str, float] | None = None) -> tuple[ArmContext, ...]:
    """The available arms that meet the caller's limits. Raises NoArmAvailable if no arm is available.

    `latency_s` is what the policy predicts; an arm that is not in it is expected to take the catalogue's time under
    its live load. If no arm meets both limits, the one that is left is the fastest of those within the cost, or, if
    all cost more, the cheapest: a caller is served late rather than overcharged, and rather than not at all.
    """
    arms = available_arms(context)
    most_s, most_usd = context.limits.latency_s, context.limits.cost_usd
    if most_s is None and most_usd is None:
        return arms

    def expected_s(arm: ArmContext) -> float:
        predicted = None if latency_s is None else latency_s.get(arm.name)
        return arm.service_s * crowding(arm) if predicted is None else predicted

    if most_usd is not None:
        affordable = tuple(arm for arm in arms if arm.price_usd <= most_usd)
        if not affordable:
            return (min(arms, key=lambda arm: arm.price_usd),)
        arms = affordable
    if most_s is not None:
        arms = tuple(arm for arm in arms if expected_s(arm) <= most_s) or (min(arms, key=expected_s),)
    return arms


def decide_by(
    probabilities: Mapping[str, float],
    context: Context,
    floor: float,
    rng: Random,
    predictions: Mapping[str, Prediction] | None = None,
) -> Decision:
    """Mix the floor into a policy's own probabilities over every arm of the context, and draw.

    Arms beyond the caller's limits get probability 0, as `eligible_arms` says. Raises NoArmAvailable.
    """
    expected = None if predictions is None else {name: one.latency_s for name, one in predictions.items()}
    eligible = {arm.name for arm in eligible_arms(context, expected)}
    mixed = mix_floor(probabilities, {arm.name: arm.name in eligible for arm in context.arms}, floor)
    arm = draw(mixed, rng)
    return Decision(arm=arm, propensity=mixed[arm], probabilities=mixed, predictions=predictions or {})


def mix_floor(probabilities: Mapping[str, float], available: Mapping[str, bool], floor: float) -> dict[str, float]:
    """Mix a distribution with the uniform one over available arms: (1 - floor) * p + floor / k.

    `floor` in [0, 1] is the total exploration mass. Unavailable arms get 0 and the rest is renormalised, so that
    what is returned is the propensity to log (off-policy estimates divide by it).
    """
    open_arms = [arm for arm in probabilities if available[arm]]
    mass = sum(probabilities[arm] for arm in open_arms)
    k = len(open_arms)
    mixed = dict.fromkeys(probabilities, 0.0)
    for arm in open_arms:
        share = probabilities[arm] / mass if mass > 0 else 1 / k
        mixed[arm] = (1 - floor) * share + floor / k
    return mixed


def draw(probabilities: Mapping[str, float], rng: Random) -> str:
    """One arm, drawn by its probability. Zero-probability arms are never drawn."""
    point = rng.random() * sum(probabilities.values())
    last = ""
    for arm, probability in probabilities.items():
        if probability <= 0:
            continue
        last = arm
        point -= probability
        if point < 0:
            break
    return last
