"""When requests arrive: Poisson arrivals whose rate is a function of time, drawn from a seed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cluster.errors import ImpossibleTraffic


@dataclass(frozen=True, slots=True)
class Phase:
    """From `start_s` on, `rate_per_s` arrive; up to the next phase it moves in a straight line to `end_rate_per_s`.

    `end_rate_per_s` None: it stays.
    """

    start_s: float
    rate_per_s: float
    end_rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Phases in order, the first at 0, up to `duration_s`. Raises ImpossibleTraffic."""

    phases: tuple[Phase, ...]
    duration_s: float

    def __post_init__(self) -> None:
        starts = [phase.start_s for phase in self.phases]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts or not starts[-1] < self.duration_s < 1e9:
            raise ImpossibleTraffic(
                f"phases start at {starts} and end at {self.duration_s!r}; they must begin at 0 and come in order"
            )
        for phase in self.phases:
            rates = (phase.rate_per_s, phase.rate_per_s if phase.end_rate_per_s is None else phase.end_rate_per_s)
            if not all(0 <= rate < 1e9 for rate in rates):
                raise ImpossibleTraffic(f"{phase} has an impossible rate; it must be 0 or more, in requests/s")

    def arrivals_s(self, seed: int) -> array[float]:
        """Arrival times in order. By thinning (Lewis and Shedler 1979) where the rate moves."""
        rng = Random(seed)
        times = array("d")
        for phase, end_s in zip(self.phases, self._ends(), strict=True):
            last_per_s = phase.rate_per_s if phase.end_rate_per_s is None else phase.end_rate_per_s
            most_per_s = max(phase.rate_per_s, last_per_s)
            slope = (last_per_s - phase.rate_per_s) / (end_s - phase.start_s)
            now_s = phase.start_s
            while most_per_s > 0:
                now_s += rng.expovariate(most_per_s)
                if now_s >= end_s:
                    break
                if slope == 0 or rng.random() * most_per_s < phase.rate_per_s + slope * (now_s - phase.start_s):
                    times.append(now_s)
        return times

    def rate_per_s(self, at_s: float) -> float:
        """The true rate at a time, 0 outside."""
        for phase, end_s in zip(self.phases, self._ends(), strict=True):
            if phase.start_s <= at_s < end_s:
                last_per_s = phase.rate_per_s if phase.end_rate_per_s is None else phase.end_rate_per_s
                share = (at_s - phase.start_s) / (end_s - phase.start_s)
                return phase.rate_per_s + share * (last_per_s - phase.rate_per_s)
        return 0.0

    def rises(self) -> list[tuple[float, float]]:
        """Every (start, end) of a phase that begins with a higher rate than the one before ended with."""
        found, before_per_s = [], self.phases[0].rate_per_s
        for phase, end_s in zip(self.phases, self._ends(), strict=True):
            if phase.rate_per_s > before_per_s:
                found.append((phase.start_s, end_s))
            before_per_s = phase.rate_per_s if phase.end_rate_per_s is None else phase.end_rate_per_s
        return found

    def _ends(self) -> Sequence[float]:
        return [*(phase.start_s for phase in self.phases[1:]), self.duration_s]


def steady(rate_per_s: float, duration_s: float) -> Traffic:
    """The same rate all the time."""
    return Traffic((Phase(0.0, rate_per_s),), duration_s)
