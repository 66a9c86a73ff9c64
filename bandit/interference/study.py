"""All of the simulation as one study: what is run, at what size, and its result as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
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
    slot_plan=Plan(runs=60, duration_s=5040.0),
    slot_loads=(0.85, 0.95),
    relaxation_runs=150,
    own_view_runs=40,
    large_tier_loads=(1.0, 1.5, 2.0, 3.0),
    learned_runs=40,
    learned_requests=1500,
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


def interference(size: Size, processes: int = 1, say: Say = lambda _: None) -> dict[str, Any]:
    """Everything but peeking, as JSON takes it. `say` is told what is done; the result does not hang on `processes`."""
    answer: dict[str, Any] = {"made": origin(), "plan": asdict(size.plan)}
    answer["scenarios"] = {scenario.name: scenario.what for scenario in SCENARIOS}
    answer |= {name: [] for name in ("cells", "relaxation", "slots", "own_view", "learned")}
    tasks = list(_tasks(size))
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        waiting = [(section, what, pool.submit(function, *given)) for section, what, function, given in tasks]
        for section, what, done in waiting:
            found = done.result()
            say(f"{section}: {what}")
            answer[section] += [row.as_json() for row in (found if isinstance(found, list) else [found])]
    return answer


def _tasks(size: Size) -> Iterator[tuple[str, str, Callable[..., Any], tuple[Any, ...]]]:
    """Section of the answer, words, and what is to be called with what."""
    seed = size.plan.seed
    for scenario in SCENARIOS:
        for load in size.loads:
            yield "cells", f"{scenario.name} at load {load:g}", cell, (scenario, load, size.plan)
    for scenario in _RELAXING:
        for load in size.loads:
            given = (scenario, load, size.relaxation_runs, seed)
            yield "relaxation", f"{scenario.name} at load {load:g}", relaxation, given
    for load in size.slot_loads:
        yield "slots", f"{_RELAXING[0].name} at load {load:g}", slot_table, (_RELAXING[0], load, size.slot_plan)
    for load in size.learned_loads:
        sizes = (size.learned_runs, size.learned_requests, seed)
        yield "learned", f"factored against itself at load {load:g}", learned_a_a, ("factored", {}, load, *sizes)
    for case in CASES:
        most = sum(tier.capacity_per_s for tier in case[1]) / case[1][0].capacity_per_s
        for large_tier_load in size.large_tier_loads:
            for share in SHARES if large_tier_load < most else ():
                what = f"{case[0]}, {large_tier_load:g} times what the large tier can do, {share:g}"
                yield "own_view", what, likeness, (*case, large_tier_load, share, size.own_view_runs, seed)


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
