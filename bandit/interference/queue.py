"""The shared queues event by event, one run at a time: batches, and real policies that learn. The definition of
correct for `lockstep.py`.

A tier is one queue in front of its replicas, first come first served. A replica that is free takes as many waiting
requests as its batch holds; the batch takes as long as its first request's work.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bandit.context import Context, Decision

from .outcomes import REFUSED, Labels, Outcomes, utility
from .routing import PolicyRoute, Route
from .tiers import LATENCY_PER_S, Tier, quality
from .traffic import Requests


@dataclass(slots=True)
class _Station:
    tier: Tier
    idle: int
    own: list[int]  # in flight, by variant
    waiting: deque[int] = field(default_factory=deque)

    @property
    def in_flight(self) -> int:
        return sum(self.own)


def serve(
    tiers: Sequence[Tier],
    requests: Requests,
    routes: Sequence[Route | PolicyRoute],
    variant: Labels,
    *,
    sees_own: bool = False,
    latency_per_s: float = LATENCY_PER_S,
) -> Outcomes:
    """Serve the one run in `requests` ([n, 1]). Arguments as in `lockstep.simulate`."""
    run = _Run(tiers, requests, routes, variant[:, 0], sees_own)
    for number in range(len(variant)):
        run.arrive(number)
    run.end_until(float("inf"))
    tier, seconds = run.served[:, None], run.latency_s[:, None]
    worth = utility(tiers, requests, tier, seconds, latency_per_s)
    return Outcomes(tier, seconds, worth, run.found[:, None])


class _Run:
    def __init__(
        self,
        tiers: Sequence[Tier],
        requests: Requests,
        routes: Sequence[Route | PolicyRoute],
        variant: Labels,
        sees_own: bool,
    ) -> None:
        n = len(variant)
        self.served = np.full(n, REFUSED, dtype=np.int8)
        self.latency_s = np.zeros(n)
        self.found = np.zeros(n, dtype=np.int64)
        self._tiers, self._routes, self._sees_own = tiers, routes, sees_own
        self._variant: list[int] = variant.tolist()
        self._at_s: list[float] = requests.at_s[:, 0].tolist()
        self._work: list[float] = requests.work[:, 0].tolist()
        self._hardness: list[float] = requests.hardness[:, 0].tolist()
        self._quality = quality(tiers, requests.hardness[:, 0])
        self._stations = [_Station(tier, tier.replicas, [0] * len(routes)) for tier in tiers]
        self._asked: dict[int, tuple[Context, Decision]] = {}
        self._ends: list[tuple[float, int, int, tuple[int, ...]]] = []  # when, order of entry, station, its batch
        self._entered = 0

    def arrive(self, number: int) -> None:
        """Let what ends before it end, then route one request; where all tiers are full it is refused."""
        now_s, variant = self._at_s[number], self._variant[number]
        self.end_until(now_s)
        load = [station.in_flight for station in self._stations]
        self.found[number] = sum(load)
        has_room = [station.in_flight < station.tier.places for station in self._stations]
        if not any(has_room):
            return
        seen = [station.own[variant] for station in self._stations] if self._sees_own else load
        route = self._routes[variant]
        if isinstance(route, PolicyRoute):
            choice, context, decision = route.choose(self._tiers, seen, has_room, self._hardness[number])
            self._asked[number] = (context, decision)
        else:
            appeal = route.appeal(self._tiers, np.array(seen), self._quality[number])
            choice = int(np.where(has_room, appeal, -np.inf).argmax())
        self.served[number] = choice
        self._stations[choice].own[variant] += 1
        self._stations[choice].waiting.append(number)
        self._start(now_s, choice)

    def end_until(self, now_s: float) -> None:
        """Close every batch that ends by then, and start those that waited for its replica."""
        while self._ends and self._ends[0][0] <= now_s:
            end_s, _, index, batch = heapq.heappop(self._ends)
            station = self._stations[index]
            station.idle += 1
            for number in batch:
                variant = self._variant[number]
                station.own[variant] -= 1
                self.latency_s[number] = seconds = end_s - self._at_s[number]
                route = self._routes[variant]
                if isinstance(route, PolicyRoute):
                    route.learn(*self._asked.pop(number), seconds, float(self._quality[number, index]))
            self._start(end_s, index)

    def _start(self, now_s: float, index: int) -> None:
        station = self._stations[index]
        while station.idle and station.waiting:
            size = min(station.tier.batch, len(station.waiting))
            batch = tuple(station.waiting.popleft() for _ in range(size))
            station.idle -= 1
            self._entered += 1
            end_s = now_s + station.tier.service_s * self._work[batch[0]]
            heapq.heappush(self._ends, (end_s, self._entered, index, batch))
