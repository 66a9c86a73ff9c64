"""Always the same arm: the baseline that every claim of a learning policy stands beside."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .context import Context, Decision, Record
from .envelope import pack, unpack
from .options import check_ranges
from .policy import available_arms, decide_by


@dataclass(frozen=True, slots=True)
class FixedOptions:
    """Options of `fixed`."""

    arm: str  # name of the arm, e.g. "flow@standard"
    floor: float = 0.0  # share of uniform draws; without any, the log of this policy can judge no other arm

    def __post_init__(self) -> None:
        check_ranges(self)


class FixedPolicy:
    """One arm while it is available; while it is not, any of the others, uniformly."""

    name = "fixed"

    def __init__(self, options: FixedOptions) -> None:
        self.options = options
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises NoArmAvailable."""
        available_arms(context)
        probabilities = {arm.name: float(arm.name == self.options.arm) for arm in context.arms}
        return decide_by(probabilities, context, self.options.floor, rng)

    def learn(self, record: Record) -> None:
        """Counts; there is nothing to learn."""
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`."""
        return pack(self.name, {"arm": self.options.arm}, self._learned, {})

    def restore(self, state: bytes) -> None:
        """Raises BadState if another policy, or this one with another arm, wrote the bytes."""
        self._learned, _ = unpack(state, self.name, {"arm": self.options.arm})
