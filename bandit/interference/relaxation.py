"""How long the queues remember a policy: what slots and carry-over of a switchback must be measured by.

All traffic is moved from one policy to the other at one instant. The gap to runs that had the other policy all along,
over the same requests, then closes; its area divided by its height at the start is the relaxation time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .experiments import Scenario
from .lockstep import simulate
from .tiers import capacity_per_s
from .traffic import Floats, Traffic, draw


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Of one scenario at one load."""

    scenario: str
    load: float
    into_treatment_s: float  # after control gave way to treatment
    into_control_s: float
    backlog_control: float  # mean requests in flight under each
    backlog_treatment: float
    forgotten_s: float  # until the gap stayed below 5 % of its start, the slower of the two directions

    @property
    def relaxation_s(self) -> float:
        """The slower of the two."""
        return max(self.into_treatment_s, self.into_control_s)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self) | {"relaxation_s": self.relaxation_s}


def relaxation(
    scenario: Scenario, load: float, runs: int, seed: int, before_s: float = 300.0, after_s: float = 300.0
) -> Relaxation:
    """Measured over `runs` runs; the gap's curve is theirs on average."""
    rng = np.random.default_rng([seed, round(1000 * load)])
    tiers, routes = scenario.tiers, (scenario.control, scenario.treatment)
    rate_per_s = load * capacity_per_s(tiers)
    requests = draw(Traffic(rate_per_s, before_s + after_s, **scenario.traffic), runs, rng)  # type: ignore[arg-type]
    later = (requests.at_s >= before_s).astype(np.int8)
    always = [simulate(tiers, requests, routes, np.full(later.shape, which, dtype=np.int8)) for which in (0, 1)]
    edges_s = np.arange(0.0, after_s * 0.9, 1.0)
    scales, forgotten = [], []
    for into in (1, 0):
        switched = simulate(tiers, requests, routes, later if into else 1 - later)
        gap = switched.utility - always[into].utility
        curve = _by_second(gap, requests.at_s - before_s, edges_s)
        scales.append(float(curve.sum() / curve[:2].mean()))
        forgotten.append(_last_above(curve, 0.05))
    steady = requests.at_s >= before_s / 2
    backlog = [float(one.in_flight[steady].mean()) for one in always]
    return Relaxation(scenario.name, load, scales[0], scales[1], backlog[0], backlog[1], max(forgotten))


def _by_second(gap: Floats, since_s: Floats, edges_s: Floats) -> Floats:
    inside = (since_s >= 0) & (since_s < edges_s[-1])
    second = since_s[inside].astype(np.int64)
    count = np.maximum(np.bincount(second, minlength=len(edges_s) - 1), 1)
    return np.bincount(second, gap[inside], minlength=len(edges_s) - 1) / count


def _last_above(curve: Floats, share: float) -> float:
    """Seconds until a smoothed curve stays below a share of its start."""
    smooth = np.convolve(curve, np.full(5, 0.2), mode="valid")
    above: Sequence[int] = np.flatnonzero(np.abs(smooth) > share * abs(curve[:2].mean())).tolist()
    return float(above[-1] + 1) if above else 0.0
