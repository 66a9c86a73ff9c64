"""The event loop: arrivals, batches, starts and scaling ticks in the order of their times, from one seed.

The same input and seed give the same figures, to the last bit. A request that finds its tier full goes to the one with
the next higher probability that has room; where none has, it is refused.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from cluster.errors import ImpossibleTraffic
from cluster.forecast import Forecast, ForecastRule

from .report import Moment, Outcome, TierOutcome
from .routers import Router
from .scalers import Scaler, Seen
from .station import BATCH_DONE, BATCH_WAITED, REPLICA_READY, Station
from .tiers import TierModel

_TICK = 0


@dataclass(frozen=True, slots=True)
class Simulation:
    """All that a run depends on, but for its arrivals."""

    tiers: Sequence[TierModel]
    router: Router
    scalers: Sequence[Scaler]  # one per tier; they keep state, so every run needs fresh ones
    seed: int
    tick_s: float = 1.0  # how often scalers are asked; Serve's controller does it ten times a second
    deadline_s: float | None = None  # a request that waited longer is dropped when its turn comes
    measure_from_s: float = 0.0  # earlier arrivals are served and not counted
    grace_s: float = 3600.0  # after the last arrival, for what still waits
    sample_every_s: float = 1.0  # of the moments in the outcome
    forecast_rule: ForecastRule = field(default_factory=ForecastRule)


def simulate(setting: Simulation, arrivals_s: Sequence[float]) -> Outcome:
    """Serve all arrivals (in order). Raises ImpossibleTraffic where tiers and scalers are not as many."""
    if len(setting.tiers) != len(setting.scalers) or not setting.tiers:
        raise ImpossibleTraffic(f"{len(setting.tiers)} tiers with {len(setting.scalers)} scalers; give one for each")
    return _Run(setting).run(arrivals_s)


class _Run:
    def __init__(self, setting: Simulation) -> None:
        self._setting = setting
        self._heap: list[tuple[float, int, int, int, object]] = []  # when, order of entry, kind, station, what
        self._order = count()
        self._rng = Random(f"{setting.seed} routing")
        self._stations = [self._station(index, model) for index, model in enumerate(setting.tiers)]
        self._forecasts = [Forecast(at_s=0.0) for _ in self._stations]
        self._moments: list[list[Moment]] = [[] for _ in self._stations]
        self._demand = [0.0] * len(self._stations)
        self._sampled_s = 0.0

    def run(self, arrivals_s: Sequence[float]) -> Outcome:
        heap, stations, router, rng = self._heap, self._stations, self._setting.router, self._rng
        last_s = arrivals_s[-1] if len(arrivals_s) else 0.0
        end_s, now_s = last_s + self._setting.grace_s, 0.0
        heapq.heappush(heap, (0.0, next(self._order), _TICK, 0, None))
        for arrived_s in arrivals_s:
            while heap[0][0] <= arrived_s:  # there always is a next tick
                self._event(heapq.heappop(heap))
            now_s = arrived_s
            choice, shares = router.route(now_s, stations, rng)
            for station, share in zip(stations, shares, strict=True):
                station.mass += share
            station = stations[choice]
            if station.has_room:
                station.arrive(now_s)
                continue
            open_tiers = [index for index, other in enumerate(stations) if other.has_room and shares[index] > 0]
            if open_tiers:
                stations[max(open_tiers, key=lambda index: shares[index])].arrive(now_s)
            elif now_s >= self._setting.measure_from_s:
                station.refused += 1
        while heap[0][0] <= end_s and any(station.queue or station.busy for station in stations):
            now_s = heap[0][0]
            self._event(heapq.heappop(heap))
        for station in stations:
            station.close(now_s)
        return Outcome(
            tuple(TierOutcome.of(station, moments) for station, moments in zip(stations, self._moments, strict=True)),
            duration_s=last_s,
        )

    def _station(self, index: int, model: TierModel) -> Station:
        def schedule(at_s: float, kind: int, what: object) -> None:
            heapq.heappush(self._heap, (at_s, next(self._order), kind, index, what))

        return Station(
            model,
            Random(f"{self._setting.seed} {model.name}"),
            schedule,
            deadline_s=self._setting.deadline_s,
            measure_from_s=self._setting.measure_from_s,
        )

    def _event(self, event: tuple[float, int, int, int, object]) -> None:
        at_s, _, kind, index, what = event
        if kind == BATCH_DONE:
            self._stations[index].done(at_s, what)  # type: ignore[arg-type]
        elif kind == REPLICA_READY:
            self._stations[index].ready(at_s, what)  # type: ignore[arg-type]
        elif kind == BATCH_WAITED:
            self._stations[index].start(at_s)
        else:
            self._tick(at_s)

    def _tick(self, now_s: float) -> None:
        sampled = now_s - self._sampled_s >= self._setting.sample_every_s or now_s == 0
        for index, (station, scaler) in enumerate(zip(self._stations, self._setting.scalers, strict=True)):
            if now_s > 0:
                forecast = self._forecasts[index].after(now_s, station.mass, self._setting.forecast_rule)
                self._forecasts[index] = forecast
                self._demand[index] += station.mass
                station.mass = 0.0
            waiting = len(station.queue)
            seen = Seen(now_s, waiting, station.in_work, self._forecasts[index])
            target = scaler.decide(seen, station.running, station.target)
            if target != station.target:
                station.scale_to(target, now_s)
            if sampled:
                elapsed_s = now_s - self._sampled_s
                demand_per_s = self._demand[index] / elapsed_s if elapsed_s else 0.0
                self._demand[index] = 0.0
                self._moments[index].append(Moment(now_s, demand_per_s, station.running, target, waiting))
        if sampled:
            self._sampled_s = now_s
        heapq.heappush(self._heap, (now_s + self._setting.tick_s, next(self._order), _TICK, 0, None))
