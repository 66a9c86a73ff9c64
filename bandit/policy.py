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


def decide_by(
    probabilities: Mapping[str, float],
    context: Context,
    floor: float,
    rng: Random,
    predictions: Mapping[str, Prediction] | None = None,
) -> Decision:
    """Mix the floor into a policy's own probabilities over every arm of the context, and draw."""
    mixed = mix_floor(probabilities, {arm.name: arm.available for arm in context.arms}, floor)
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
