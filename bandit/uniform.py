"""Every available arm alike: the baseline that needs no model, and the log that judges every other policy best."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .context import Context, Decision, Record
from .envelope import pack, unpack
from .policy import available_arms, decide_by


@dataclass(frozen=True, slots=True)
class UniformOptions:
    """`uniform` has no options."""


class UniformPolicy:
    """The same probability for every available arm."""

    name = "uniform"

    def __init__(self, options: UniformOptions | None = None) -> None:
        self.options = options or UniformOptions()
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises NoArmAvailable."""
        available_arms(context)
        return decide_by({arm.name: 1.0 for arm in context.arms}, context, 0.0, rng)

    def learn(self, record: Record) -> None:
        """Counts; there is nothing to learn."""
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`."""
        return pack(self.name, {}, self._learned, {})

    def restore(self, state: bytes) -> None:
        """Raises BadState if another policy wrote the bytes."""
        self._learned, _ = unpack(state, self.name, {})
