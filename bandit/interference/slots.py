"""A switchback's slot length and carry-over at equal length of the experiment: what each does to bias and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .designs import by_slot, switchback_labels
from .experiments import ALPHA, WARM_UP_S, Plan, Scenario
from .lockstep import simulate
from .tiers import capacity_per_s
from .traffic import Traffic, draw

SLOTS_S = (10.0, 20.0, 60.0, 120.0)
CARRY_OVER_SHARES = (0.0, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One choice of slots, over all runs."""

    scenario: str
    load: float
    slot_s: float
    carry_over_s: float
    runs: int
    truth: float
    bias: float
    bias_se: float
    half_width: float
    coverage: float

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def slot_table(scenario: Scenario, load: float, plan: Plan, slots_s: Sequence[float] = SLOTS_S) -> list[SlotRow]:
    """Every slot length with every share of it as carry-over, all over the same requests."""
    rng = np.random.default_rng([plan.seed, round(1000 * load), 7])
    tiers, routes = scenario.tiers, (scenario.control, scenario.treatment)
    traffic = Traffic(load * capacity_per_s(tiers), plan.duration_s, **scenario.traffic)  # type: ignore[arg-type]
    requests = draw(traffic, plan.runs, rng)
    keep = requests.at_s >= WARM_UP_S
    everybody = [
        simulate(tiers, requests, routes, np.full(keep.shape, which, dtype=np.int8)).utility for which in (0, 1)
    ]
    truth = float((everybody[1] - everybody[0])[keep].mean())
    rows = []
    for slot_s in slots_s:
        label = switchback_labels(requests.at_s, slot_s, rng)
        served = simulate(tiers, requests, routes, label).utility
        for share in CARRY_OVER_SHARES:
            found = by_slot(served, label, requests.at_s, slot_s, share * slot_s, keep, ALPHA)
            rows.append(
                SlotRow(
                    scenario=scenario.name,
                    load=load,
                    slot_s=slot_s,
                    carry_over_s=share * slot_s,
                    runs=plan.runs,
                    truth=truth,
                    bias=float(found.difference.mean()) - truth,
                    bias_se=float(found.difference.std(ddof=1)) / plan.runs**0.5,
                    half_width=float((found.high - found.low).mean() / 2),
                    coverage=float(found.covers(truth).mean()),
                )
            )
    return rows
