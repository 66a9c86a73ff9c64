"""The tiers of the simulation, and what an image of them is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bandit.errors import BadTraffic

from .traffic import Floats


@dataclass(frozen=True, slots=True)
class Tier:
    """One queue in front of replicas, first come first served."""

    name: str
    service_s: float  # mean seconds of one batch, whatever is in it
    replicas: int
    easy: float  # quality of the easiest prompt (hardness 0)
    hard: float  # quality of the hardest (hardness 1)
    places: int = 32  # requests that may wait or be worked on at once; over it, the tier refuses
    batch: int = 1

    def __post_init__(self) -> None:
        if not self.service_s > 0:
            raise BadTraffic(f"tier {self.name!r}: service_s is {self.service_s!r}; allowed: above 0")
        if self.replicas < 1 or self.batch < 1 or self.places < self.replicas:
            raise BadTraffic(
                f"tier {self.name!r}: replicas {self.replicas}, batch {self.batch}, places {self.places}; "
                "allowed: 1 or more each, and at least as many places as replicas"
            )

    @property
    def capacity_per_s(self) -> float:
        """Requests that it can work off in a second, with full batches."""
        return self.replicas * self.batch / self.service_s


# A large and a medium tier at the scale of this project's; load 1 is what both together can do.
TIERS = (
    Tier("flow", service_s=0.5, replicas=4, easy=0.9, hard=0.8),
    Tier("diffusion", service_s=0.25, replicas=2, easy=0.9, hard=0.3),
)
LATENCY_PER_S = 0.1  # what a second is worth, in utility; a caller's weight of the same name


def capacity_per_s(tiers: Sequence[Tier]) -> float:
    """Requests that all tiers together can work off in a second."""
    return sum(tier.capacity_per_s for tier in tiers)


def quality(tiers: Sequence[Tier], hardness: Floats) -> Floats:
    """[..., T] of hardness [...]: linear between the easiest and the hardest prompt."""
    easy = np.array([tier.easy for tier in tiers])
    hard = np.array([tier.hard for tier in tiers])
    return easy + hardness[..., None] * (hard - easy)


def halves(tiers: Sequence[Tier], share: float = 0.5) -> tuple[tuple[Tier, ...], tuple[Tier, ...]]:
    """Pools of the control and of the treatment, `share` of the replicas for the treatment.

    Raises BadTraffic if a tier cannot be parted so: replicas are whole, and each pool needs one.
    """
    pools: tuple[list[Tier], list[Tier]] = ([], [])
    for tier in tiers:
        mine = tier.replicas * share
        if abs(mine - round(mine)) > 1e-9 or not 1 <= round(mine) <= tier.replicas - 1:
            raise BadTraffic(
                f"tier {tier.name!r} has {tier.replicas} replicas, of which {share:g} would be {mine:g}; "
                "allowed: a share that gives each pool a whole number of replicas, at least one"
            )
        for pool, count in zip(pools, (tier.replicas - round(mine), round(mine)), strict=True):
            places = max(count, round(tier.places * count / tier.replicas))
            pool.append(replace(tier, replicas=count, places=places))
    return tuple(pools[0]), tuple(pools[1])
