"""The contract of every policy, and the exploration floor that all of them share.

    context -> Policy.decide(context, rng) -> Decision       (pure but for rng; microseconds; no I/O)
    Record  -> Policy.learn(record)                           (only the learner calls it)
    Policy.state() -> bytes; Policy.restore(bytes)            (byte-identical after the same fold)
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Protocol

from .context import Context, Decision, Record


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


def mix_floor(probabilities: Mapping[str, float], available: Mapping[str, bool], floor: float) -> dict[str, float]:
    """Mix a distribution with the uniform one over available arms: (1 - floor) * p + floor / k.

    `floor` in [0, 1] is the total exploration mass. Unavailable arms get 0 and the rest is renormalised, so that
    what is returned is the propensity to log (docs: design decision 5, off-policy honesty).
    """
    open_arms = [arm for arm in probabilities if available[arm]]
    mass = sum(probabilities[arm] for arm in open_arms)
    k = len(open_arms)
    mixed = {arm: 0.0 for arm in probabilities}
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
