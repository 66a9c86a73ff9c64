"""A/A of a real policy that learns: each variant with a learner of its own, or both reading the same one.

The policy is built by name, decides through the very context that a gateway gives it and learns from what came of it,
event by event (`queue.py`). Slow beside the rest, and so with fewer runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random

import numpy as np

from bandit.policies import build

from .designs import by_request, split_labels
from .queue import serve
from .routing import PolicyRoute
from .tiers import TIERS, capacity_per_s
from .traffic import Traffic, draw


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """A plain split by request of one policy against itself."""

    policy: str
    load: float
    learners: str  # "own": each variant learns from its own requests; "shared": both from all
    runs: int
    requests: int  # of one run, both variants
    bias: float
    bias_se: float
    spread: float  # standard deviation of the estimate over the runs
    claimed: float  # what the interval takes it to be
    coverage: float
    coverage_se: float

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def learned_a_a(
    policy: str, options: Mapping[str, object], load: float, runs: int, requests: int, seed: int, alpha: float = 0.05
) -> list[LearnedRow]:
    """The first fifth of the requests of a run is left out as the time of learning."""
    rows = []
    for learners in ("own", "shared"):
        rng = np.random.default_rng([seed, round(1000 * load)])
        rate_per_s = load * capacity_per_s(TIERS)
        estimates, covered, halves = [], [], []
        for run in range(runs):
            drawn = draw(Traffic(rate_per_s, requests / rate_per_s), 1, rng)
            label = split_labels(drawn.user, 0.5, rng)
            first = build(policy, options)
            second = build(policy, options) if learners == "own" else first
            routes = [PolicyRoute(one, Random(1000 * run + which)) for which, one in enumerate((first, second))]
            out = serve(TIERS, drawn, routes, label)
            keep = np.arange(len(label))[:, None] >= len(label) // 5
            found = by_request(out.utility, label, keep, alpha)
            estimates.append(float(found.difference[0]))
            covered.append(bool(found.covers(0.0)[0]))
            halves.append(float(found.high[0] - found.low[0]) / 2)
        spread, coverage = float(np.std(estimates, ddof=1)), float(np.mean(covered))
        rows.append(
            LearnedRow(
                policy=policy,
                load=load,
                learners=learners,
                runs=runs,
                requests=requests,
                bias=float(np.mean(estimates)),
                bias_se=spread / runs**0.5,
                spread=spread,
                claimed=float(np.mean(halves)) / 1.96,
                coverage=coverage,
                coverage_se=(max(coverage * (1 - coverage), 1 / runs**2) / runs) ** 0.5,
            )
        )
    return rows
