"""Scenarios, and what each design makes of them at each load, against the truth.

The truth is the global effect: everybody on the treatment minus everybody on the control, each in its own run over the
same requests. Where both are the same policy (A/A) it is 0 by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from .designs import Estimates, by_block, by_request, by_slot, by_unit, split_labels, switchback_labels
from .lockstep import simulate
from .outcomes import Labels, Outcomes
from .routing import Greedy, Route
from .tiers import TIERS, Tier, capacity_per_s, halves
from .traffic import Floats, Ints, Requests, Traffic, draw

Flags = NDArray[np.bool_]

LOADS = (0.3, 0.5, 0.7, 0.85, 0.95)
ALPHA = 0.05
DURATION_S = 2840.0  # 32 pairs of slots after the warm-up
WARM_UP_S = 240.0
SLOT_S = 40.0
CARRY_OVER_S = 20.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Two policies and the circumstances in which they are compared."""

    name: str
    what: str  # in plain words
    control: Route
    treatment: Route
    share: float = 0.5  # of the treatment in the split
    sees_own: bool = False
    traffic: Mapping[str, float] = field(default_factory=dict)
    tiers: tuple[Tier, ...] = TIERS

    @property
    def is_a_a(self) -> bool:
        """Both variants are the same policy, so that the true effect is 0."""
        return self.control == self.treatment


_SESSIONS = {"session_requests": 8.0, "think_s": 1.0, "users": 400, "user_spread": 1.0}
SCENARIOS = (
    Scenario("a-a", "same policy, every request drawn by itself", Greedy(), Greedy()),
    Scenario("a-a sticky", "same policy, sticky users who come in sessions", Greedy(), Greedy(), traffic=_SESSIONS),
    Scenario(
        "a-a canary",
        "same policy; the treatment runs in gateways of its own with a tenth of the traffic, and sees only its load",
        Greedy(),
        Greedy(),
        share=0.1,
        sees_own=True,
    ),
    Scenario("a-b greedier", "the treatment leaves out what its wait costs those behind it", Greedy(2.0), Greedy(1.0)),
    Scenario("a-b far greedier", "the treatment hardly minds waiting for the large tier", Greedy(1.0), Greedy(0.25)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One design at one load in one scenario, over all runs. Of utility, but for `latency_ratio`."""

    scenario: str
    load: float
    design: str
    runs: int
    truth: float
    estimate: float  # mean over the runs
    bias: float
    bias_se: float
    half_width: float  # mean, of the interval for one look
    coverage: float  # of the truth, by that interval; nominal 1 - ALPHA
    coverage_se: float
    own_coverage: float  # of the design's own mean: what is left when bias is taken away
    anytime_coverage: float
    wrong_winner: float  # share of the runs whose interval lies wholly on the wrong side (A/A: on any side) of 0
    latency_ratio: float  # treatment / control, as the design shows it
    true_latency_ratio: float

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is simulated."""

    runs: int = 400
    duration_s: float = DURATION_S
    slot_s: float = SLOT_S
    carry_over_s: float = CARRY_OVER_S
    chunk: int = 200  # runs at once; bounds memory
    seed: int = 20261122


def cell(scenario: Scenario, load: float, plan: Plan) -> list[Row]:
    """All designs of one scenario at one load; `load` is arrivals over what all tiers together can do."""
    chunks = [
        _chunk(scenario, load, plan, min(plan.chunk, plan.runs - start), [plan.seed, start, round(1000 * load)])
        for start in range(0, plan.runs, plan.chunk)
    ]
    truth = 0.0 if scenario.is_a_a else float(np.mean(np.concatenate([one.effect for one in chunks])))
    # The global effect of A/A needs no runs; latency's likewise.
    true_ratio = 1.0 if scenario.is_a_a else float(np.mean([one.latency_ratio for one in chunks]))
    rows = []
    for design in chunks[0].estimates:
        parts = [one.estimates[design] for one in chunks]
        merged = Estimates(*(np.concatenate([getattr(p, name) for p in parts]) for name in Estimates.__slots__))
        ratio = float(np.mean([one.ratios[design] for one in chunks]))
        rows.append(_row(scenario, load, design, merged, truth, ratio, true_ratio))
    return rows


@dataclass(frozen=True, slots=True)
class _Chunk:
    effect: Floats  # of every run: the global effect
    latency_ratio: float
    estimates: dict[str, Estimates]
    ratios: dict[str, float]


def _chunk(scenario: Scenario, load: float, plan: Plan, runs: int, seed: Sequence[int]) -> _Chunk:
    rng = np.random.default_rng(seed)
    tiers, routes = scenario.tiers, (scenario.control, scenario.treatment)
    traffic = Traffic(load * capacity_per_s(tiers), plan.duration_s, **scenario.traffic)  # type: ignore[arg-type]
    requests = draw(traffic, runs, rng)
    keep = requests.at_s >= WARM_UP_S
    estimates: dict[str, Estimates] = {}
    ratios: dict[str, float] = {}

    def served(label: Labels, **how: object) -> Outcomes:
        return simulate(tiers, requests, routes, label, sees_own=scenario.sees_own, **how)  # type: ignore[arg-type]

    def note(name: str, outcomes: Outcomes, label: Labels, counted: Flags, found: Estimates) -> None:
        estimates[name] = found
        mine = [outcomes.latency_s[counted & (label == variant) & (outcomes.tier >= 0)].mean() for variant in (0, 1)]
        ratios[name] = float(mine[1] / mine[0])

    label = split_labels(requests.user, scenario.share, rng)
    out = served(label)
    note("split", out, label, keep, by_request(out.utility, label, keep, ALPHA))
    if "session_requests" in scenario.traffic:
        note("split, by user", out, label, keep, by_unit(out.utility, label, requests.user, keep, ALPHA))

    slots = switchback_labels(requests.at_s, plan.slot_s, rng)
    back = served(slots)
    for name, carry_over_s in (("switchback, all kept", 0.0), ("switchback", plan.carry_over_s)):
        counted = keep & (requests.at_s % plan.slot_s >= carry_over_s)
        note(
            name, back, slots, counted,
            by_slot(back.utility, slots, requests.at_s, plan.slot_s, carry_over_s, keep, ALPHA),
        )  # fmt: skip

    for name, unit in (("pools", None), ("pools, by user", requests.user)):
        if unit is None or "session_requests" in scenario.traffic:
            pooled, part = _pools(scenario, requests, unit, rng)
            block_s = 2 * plan.slot_s
            found = by_block(pooled.utility, part, requests.at_s, block_s, keep, ALPHA)
            note(name, pooled, part, keep, found)

    effect, ratio = np.zeros(runs), 1.0
    if not scenario.is_a_a:
        before, after = (served(np.full(label.shape, variant, dtype=np.int8)) for variant in (0, 1))
        effect = np.mean(after.utility - before.utility, axis=0, where=keep)
        ratio = float(after.latency_s[keep].mean() / before.latency_s[keep].mean())
    return _Chunk(effect, ratio, estimates, ratios)


def _pools(
    scenario: Scenario, requests: Requests, unit: Ints | None, rng: np.random.Generator
) -> tuple[Outcomes, Labels]:
    """Half of every tier and half of the traffic for each: of the requests, or of the units given."""
    every = np.broadcast_to(np.arange(len(requests.at_s))[:, None], requests.at_s.shape)
    label = split_labels(every if unit is None else unit, 0.5, rng)
    control, treatment = halves(scenario.tiers)
    count = len(scenario.tiers)
    pools = (tuple(range(count)), tuple(range(count, 2 * count)))
    routes = (scenario.control, scenario.treatment)
    return simulate(control + treatment, requests, routes, label, pools=pools), label


def _row(
    scenario: Scenario, load: float, design: str, found: Estimates, truth: float, ratio: float, true_ratio: float
) -> Row:
    runs = len(found.difference)
    coverage = float(found.covers(truth).mean())
    above, below = found.low > 0, found.high < 0
    wrong = (above | below) if scenario.is_a_a else (below if truth > 0 else above)
    return Row(
        scenario=scenario.name,
        load=load,
        design=design,
        runs=runs,
        truth=truth,
        estimate=float(found.difference.mean()),
        bias=float(found.difference.mean()) - truth,
        bias_se=float(found.difference.std(ddof=1)) / runs**0.5,
        half_width=float((found.high - found.low).mean() / 2),
        coverage=coverage,
        coverage_se=(max(coverage * (1 - coverage), 1 / runs**2) / runs) ** 0.5,
        own_coverage=float(found.covers(float(found.difference.mean())).mean()),
        anytime_coverage=float(found.covers_at_any_time(truth).mean()),
        wrong_winner=float(wrong.mean()),
        latency_ratio=ratio,
        true_latency_ratio=true_ratio,
    )
