"""Who sends a request where: a protocol that any policy can be put behind, and fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Protocol

from cluster.errors import ImpossibleTraffic


class TierView(Protocol):
    """What a router may know of a tier."""

    @property
    def running(self) -> int:
        """Replicas that serve."""

    @property
    def in_flight(self) -> int:
        """Requests in work and waiting."""

    @property
    def has_room(self) -> bool:
        """May one more wait?"""


class Router(Protocol):
    """Routes one request at a time."""

    def route(self, now_s: float, tiers: Sequence[TierView], rng: Random) -> tuple[int, Sequence[float]]:
        """The tier drawn, by its index, and the probability of each: what the forecast is made of."""


class FixedShares:
    """Every tier its share, whatever the load. Raises ImpossibleTraffic."""

    def __init__(self, shares: Sequence[float]) -> None:
        if not shares or not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
            raise ImpossibleTraffic(f"shares are {list(shares)}; they must be 0 or more and add up to 1")
        self._shares, self._bounds = tuple(shares), tuple(accumulate(shares))

    def route(self, now_s: float, tiers: Sequence[TierView], rng: Random) -> tuple[int, Sequence[float]]:
        """By the shares."""
        if len(self._shares) == 1:
            return 0, self._shares
        point = rng.random()
        for index, bound in enumerate(self._bounds):
            if point < bound:
                return index, self._shares
        return len(self._shares) - 1, self._shares
