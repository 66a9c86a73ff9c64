"""All of the simulation as one study: what is run, at what size, and its result as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .experiments import LOADS, SCENARIOS, Plan, cell
from .learned import learned_a_a
from .origin import origin
from .own_view import CASES, SHARES, likeness
from .peeking import DEFAULT_TUNED_AT, false_alarms, price
from .relaxation import relaxation
from .slots import slot_table

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each part."""

    plan: Plan
    loads: tuple[float, ...]
    slot_plan: Plan
    slot_loads: tuple[float, ...]
    relaxation_runs: int
    own_view_runs: int
    large_tier_loads: tuple[float, ...]
    learned_runs: int
    learned_requests: int
    learned_loads: tuple[float, ...]


FULL = Size(
    plan=Plan(runs=200),
    loads=LOADS,
    slot_plan=Plan(runs=100),
    slot_loads=(0.85, 0.95),
    relaxation_runs=200,
    own_view_runs=40,
    large_tier_loads=(1.0, 1.5, 2.0, 3.0),
    learned_runs=100,
    learned_requests=2000,
    learned_loads=(0.5, 0.85, 0.95),
)
QUICK = Size(
    plan=Plan(runs=20, duration_s=1440.0),
    loads=(0.5, 0.85),
    slot_plan=Plan(runs=10, duration_s=2640.0),
    slot_loads=(0.85,),
    relaxation_runs=40,
    own_view_runs=5,
    large_tier_loads=(1.0, 3.0),
    learned_runs=5,
    learned_requests=400,
    learned_loads=(0.85,),
)
_RELAXING = tuple(scenario for scenario in SCENARIOS if not scenario.is_a_a)


def interference(size: Size, say: Say = lambda _: None) -> dict[str, Any]:
    """Everything but peeking, as JSON takes it. `say` is told what is done next."""
    answer: dict[str, Any] = {"made": origin(), "plan": asdict(size.plan), "cells": [], "relaxation": []}
    answer["scenarios"] = {scenario.name: scenario.what for scenario in SCENARIOS}
    for scenario in SCENARIOS:
        for load in size.loads:
            say(f"{scenario.name} at load {load:g}")
            answer["cells"] += [row.as_json() for row in cell(scenario, load, size.plan)]
    for scenario in _RELAXING:
        for load in size.loads:
            say(f"relaxation, {scenario.name} at load {load:g}")
            found = relaxation(scenario, load, size.relaxation_runs, size.plan.seed)
            answer["relaxation"].append(found.as_json())
    answer["slots"] = []
    for load in size.slot_loads:
        say(f"slots, {_RELAXING[0].name} at load {load:g}")
        answer["slots"] += [row.as_json() for row in slot_table(_RELAXING[0], load, size.slot_plan)]
    answer["own_view"] = []
    for case in CASES:
        for large_tier_load in size.large_tier_loads:
            if large_tier_load * case[1][0].capacity_per_s < sum(tier.capacity_per_s for tier in case[1]):
                say(f"own view, {case[0]}, {large_tier_load:g} times what the large tier can do")
                for share in SHARES:
                    found_like = likeness(*case, large_tier_load, share, size.own_view_runs, size.plan.seed)
                    answer["own_view"].append(found_like.as_json())
    answer["learned"] = []
    for load in size.learned_loads:
        say(f"factored against itself at load {load:g}")
        rows = learned_a_a("factored", {}, load, size.learned_runs, size.learned_requests, size.plan.seed)
        answer["learned"] += [row.as_json() for row in rows]
    return answer


def peeking(runs: int, price_runs: int, seed: int = 20261122, say: Say = lambda _: None) -> dict[str, Any]:
    """False alarms under daily looks, and what an interval that may be looked at costs in requests."""
    say("false alarms")
    answer: dict[str, Any] = {"made": origin(), "false_alarms": false_alarms(runs, seed).as_json(), "prices": []}
    for effect in (0.2, 0.1, 0.05):
        planned = round(4 * (2.8 / effect) ** 2)  # requests of both variants together that a z-test would need
        for tuned_at in (DEFAULT_TUNED_AT, planned):
            say(f"an effect of {effect:g} standard deviations, tuned at {tuned_at}")
            answer["prices"].append(price(effect, price_runs, seed, tuned_at=tuned_at).as_json())
    return answer
