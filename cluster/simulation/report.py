"""What a simulated run came to: latencies, shares, replica-seconds, violations, and how quickly capacity followed."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .station import Station
from .traffic import Traffic


@dataclass(frozen=True, slots=True)
class Moment:
    """A tier at one time."""

    at_s: float
    demand_per_s: float  # arrivals x probability since the moment before
    running: int
    target: int
    waiting: int


@dataclass(frozen=True, slots=True)
class TierOutcome:
    """One tier over the whole run. Times are sorted."""

    name: str
    capacity_per_s: float  # of one replica
    waits_s: array[float]
    latencies_s: array[float]
    late: int  # drawn, but later than the tier's target
    refused: int
    expired: int  # waited beyond the deadline, or to the end of the run
    replica_seconds: float
    first_images_s: tuple[float, ...]  # each time that a request found no replica
    moments: tuple[Moment, ...]

    @classmethod
    def of(cls, station: Station, moments: Sequence[Moment]) -> TierOutcome:
        """Of a station that is closed."""
        return cls(
            name=station.model.name,
            capacity_per_s=station.model.capacity_per_s,
            waits_s=array("d", sorted(station.waits_s)),
            latencies_s=array("d", sorted(station.latencies_s)),
            late=station.late,
            refused=station.refused,
            expired=station.expired,
            replica_seconds=station.replica_seconds,
            first_images_s=tuple(station.first_images_s),
            moments=tuple(moments),
        )

    @property
    def requests(self) -> int:
        """All that were sent here, served or not."""
        return len(self.latencies_s) + self.refused + self.expired

    @property
    def violations(self) -> int:
        """Requests that were late or not served at all."""
        return self.late + self.refused + self.expired

    def capacity_after_s(self, start_s: float, end_s: float) -> float | None:
        """Seconds from `start_s` until the running replicas could serve the mean demand up to `end_s`.

        None: they never could.
        """
        during = [moment for moment in self.moments if start_s < moment.at_s <= end_s]
        if not during:
            return None
        demand_per_s = sum(moment.demand_per_s for moment in during) / len(during)
        for moment in during:
            if moment.running * self.capacity_per_s >= demand_per_s:
                return moment.at_s - start_s
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All tiers."""

    tiers: tuple[TierOutcome, ...]
    duration_s: float

    @property
    def requests(self) -> int:
        """Of all tiers."""
        return sum(tier.requests for tier in self.tiers)

    def figures(self, traffic: Traffic | None = None) -> dict[str, Any]:
        """Plain numbers, of all tiers together and of each. With `traffic`, how soon capacity followed its rises."""
        latencies_s = sorted(latency for tier in self.tiers for latency in tier.latencies_s)
        rises = [] if traffic is None else traffic.rises()
        return {
            **_figures(self.tiers, latencies_s),
            "tiers": {
                tier.name: {
                    **_figures((tier,), tier.latencies_s),
                    "share": tier.requests / max(1, self.requests),
                    "capacity_after_s": [tier.capacity_after_s(*rise) for rise in rises],
                }
                for tier in self.tiers
            },
        }


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed (nearest rank); None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _figures(tiers: Sequence[TierOutcome], ordered_s: Sequence[float]) -> dict[str, Any]:
    requests, violations = sum(tier.requests for tier in tiers), sum(tier.violations for tier in tiers)
    return {
        "requests": requests,
        "p50_s": percentile(ordered_s, 0.5),
        "p95_s": percentile(ordered_s, 0.95),
        "p99_s": percentile(ordered_s, 0.99),
        "violations": violations,
        "violation_share": violations / max(1, requests),
        "refused": sum(tier.refused for tier in tiers),
        "expired": sum(tier.expired for tier in tiers),
        "replica_seconds": sum(tier.replica_seconds for tier in tiers),
        "most_replicas": sum(max((moment.target for moment in tier.moments), default=0) for tier in tiers),
        "first_images_s": [seconds for tier in tiers for seconds in tier.first_images_s],
    }
