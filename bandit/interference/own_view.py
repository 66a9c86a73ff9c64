"""How different one and the same policy can look from itself where each variant sees only its own load.

That is what a canary gets: gateways of its own with a small part of the traffic, in front of tiers that it shares.
To it the congested tier looks empty, so it goes on sending there what the others have learned to send elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .designs import split_labels
from .lockstep import simulate
from .routing import Greedy, Route, Threshold
from .tiers import LATENCY_PER_S, TIERS, Tier, capacity_per_s
from .traffic import Traffic, draw

SHARES = (0.1, 0.9)
# Overflow goes to a tier forty times as quick: 10 images a second are drawn by the large tier, the rest by that.
QUICK = (TIERS[0], Tier("gan", service_s=0.0125, replicas=1, easy=0.85, hard=0.05))
CASES: tuple[tuple[str, tuple[Tier, ...], Route], ...] = (
    ("own utility, medium tier beside", TIERS, Greedy()),
    ("at most 10 in flight, medium tier beside", TIERS, Threshold(10)),
    ("at most 10 in flight, quick tier beside", QUICK, Threshold(10)),
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """The treatment beside the control, which is the same policy; every ratio would be 1 without interference."""

    case: str
    large_tier_load: float  # arrivals over what the large tier alone can do
    share: float  # of the treatment
    latency_ratio: float
    latency_ratio_se: float  # over the runs
    quality_ratio: float
    utility_gap: float
    shared_view_latency_ratio: float  # the same split where both see all that is in flight

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def likeness(
    case: str, tiers: Sequence[Tier], route: Route, large_tier_load: float, share: float, runs: int, seed: int
) -> Likeness:
    """Ten minutes of traffic in every run, the first two left out."""
    rng = np.random.default_rng([seed, round(100 * large_tier_load), round(100 * share)])
    requests = draw(Traffic(large_tier_load * tiers[0].capacity_per_s, 600.0), runs, rng)
    assert large_tier_load * tiers[0].capacity_per_s < capacity_per_s(tiers)
    label = split_labels(requests.user, share, rng)
    keep = requests.at_s >= 120.0

    def ratios(sees_own: bool) -> tuple[np.ndarray, float, float]:
        out = simulate(tiers, requests, (route, route), label, sees_own=sees_own)
        mine = [keep & (label == which) & (out.tier >= 0) for which in (0, 1)]
        seconds = [out.latency_s.mean(axis=0, where=flags) for flags in mine]
        worth = [float(out.utility[flags].mean()) for flags in mine]
        quality = [w + LATENCY_PER_S * float(out.latency_s[flags].mean()) for w, flags in zip(worth, mine, strict=True)]
        return seconds[1] / seconds[0], quality[1] / quality[0], worth[1] - worth[0]

    own, quality_ratio, gap = ratios(True)
    return Likeness(
        case=case,
        large_tier_load=large_tier_load,
        share=share,
        latency_ratio=float(own.mean()),
        latency_ratio_se=float(own.std(ddof=1)) / runs**0.5,
        quality_ratio=quality_ratio,
        utility_gap=gap,
        shared_view_latency_ratio=float(ratios(False)[0].mean()),
    )
