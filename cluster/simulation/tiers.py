"""What is simulated of a tier: how long a batch takes, how long a replica takes to start, how many may wait."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from random import Random
from typing import Literal

from cluster.errors import ImpossibleTraffic

Shape = Literal["constant", "exponential", "lognormal"]


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Seconds that one batch takes: `first_s` for the first request and `more_s` for each further one, on average.

    Around that average times are spread as `shape` says; `deviation` is the standard deviation over the mean, of the
    lognormal shape only.
    """

    first_s: float
    more_s: float = 0.0
    shape: Shape = "constant"
    deviation: float = 0.0

    def mean_s(self, size: int) -> float:
        """Of a batch of `size`."""
        return self.first_s + (size - 1) * self.more_s

    def draw_s(self, size: int, rng: Random) -> float:
        """The time of one batch."""
        mean_s = self.first_s + (size - 1) * self.more_s
        if self.shape == "constant":
            return mean_s
        if self.shape == "exponential":
            return rng.expovariate(1.0 / mean_s)
        variance = log(1.0 + self.deviation**2)
        return mean_s * exp(rng.gauss(-variance / 2.0, sqrt(variance)))


@dataclass(frozen=True, slots=True)
class TierModel:
    """One tier. Raises ImpossibleTraffic for figures that cannot be."""

    name: str
    service: ServiceTime
    batch: int = 1
    batch_wait_s: float = 0.0  # how long the first of a batch waits for the others
    queue_limit: int | None = None  # waiting requests; beyond, one is refused. None: no limit
    startup_s: float = 0.0  # from ordering a replica until it serves
    startup_deviation: float = 0.0  # standard deviation over the mean, lognormal
    initial_replicas: int = 1
    target_latency_s: float = inf  # a request that takes longer is a violation

    def __post_init__(self) -> None:
        times = (self.service.first_s, self.service.more_s, self.service.deviation, self.batch_wait_s, self.startup_s)
        if not all(0 <= time < inf for time in (*times, self.startup_deviation)) or self.service.first_s == 0:
            raise ImpossibleTraffic(f"tier {self.name!r} has times {times}; they must be finite, first_s above 0")
        if self.batch < 1 or self.initial_replicas < 0 or (self.queue_limit is not None and self.queue_limit < 1):
            raise ImpossibleTraffic(
                f"tier {self.name!r} has batch {self.batch}, {self.initial_replicas} replicas and a queue limit of "
                f"{self.queue_limit}; at least 1, 0 and 1 are allowed"
            )

    @property
    def capacity_per_s(self) -> float:
        """What one replica serves with full batches."""
        return self.batch / self.service.mean_s(self.batch)

    def draw_startup_s(self, rng: Random) -> float:
        """The time that one replica takes to start."""
        if self.startup_s == 0 or self.startup_deviation == 0:
            return self.startup_s
        return ServiceTime(self.startup_s, shape="lognormal", deviation=self.startup_deviation).draw_s(1, rng)
