"""What the router is measured against: each arm alone, the uniform choice, the best arm in hindsight. Pure numbers.

Intervals are paired percentile bootstraps over prompts: a resample takes a prompt with everything that was measured on
it, so the luck of easy and hard prompts cancels in differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .demo_rows import Row

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 500  # resamples drawn at once: bounds the memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over prompts with its bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0, else 0."""
        return (self.low > 0) - (self.high < 0)


@dataclass(frozen=True, slots=True)
class Measured:
    """Utilities of the same P prompts: by the router as it went, and by each arm asked for by name."""

    numbers: tuple[int, ...]  # of the prompts
    router: np.ndarray  # [P] float64
    chosen: tuple[str, ...]  # the arm that served the router's request
    arms: Mapping[str, np.ndarray]  # arm -> [P] float64
    left_out: int  # prompts without a complete set

    def uniform(self) -> np.ndarray:
        """[P]: the mean over arms."""
        return np.mean(list(self.arms.values()), axis=0)

    def oracle(self) -> np.ndarray:
        """[P]: the best arm of each prompt by its one measurement, so biased upwards: luck is picked too."""
        return np.max(list(self.arms.values()), axis=0)

    def replayed(self) -> np.ndarray:
        """[P]: the router's choices at what the reference requests measured for these arms."""
        return np.array([self.arms[arm][i] for i, arm in enumerate(self.chosen)])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean utility of the router and of what it is measured against, and the router minus each of them."""

    prompts: int
    left_out: int
    best_fixed: str  # the arm whose mean is highest on these very prompts: a choice in hindsight too
    utility: Mapping[str, Interval]  # router, uniform, oracle, replayed and every arm
    router_minus: Mapping[str, Interval]  # uniform, oracle, replayed and every arm


def measured(rows: Sequence[Row], arms: Sequence[str]) -> Measured:
    """The prompts that the router and every arm have answered, with a quality each."""
    by_prompt: dict[int, dict[str, Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.number, {})[row.model] = row
    asked = {number: found for number, found in by_prompt.items() if any(not row.by_router for row in found.values())}
    complete = {
        number: found
        for number, found in sorted(asked.items())
        if (router := next((row for row in found.values() if row.by_router), None)) is not None
        and router.arm in arms
        and all(arm in found for arm in arms)
        and all(row.utility is not None for row in found.values())
    }
    router_rows = [next(row for row in found.values() if row.by_router) for found in complete.values()]
    return Measured(
        numbers=tuple(complete),
        router=np.array([row.utility for row in router_rows], dtype=np.float64),
        chosen=tuple(row.arm for row in router_rows),
        arms={arm: np.array([found[arm].utility for found in complete.values()], dtype=np.float64) for arm in arms},
        left_out=len(asked) - len(complete),
    )


def compare(found: Measured, seed: int, resamples: int = RESAMPLES) -> Comparison:
    """Raises ValueError without a prompt or without an arm."""
    if not found.numbers or not found.arms:
        raise ValueError("nothing to compare: no prompt was answered by the router and by every arm")
    lines = {
        "router": found.router,
        "uniform": found.uniform(),
        "oracle": found.oracle(),
        "replayed": found.replayed(),
        **found.arms,
    }
    names = list(lines)
    values = np.stack([lines[name] for name in names])  # [lines, P]
    differences = found.router - values
    both = paired_bootstrap(np.concatenate([values, differences]), seed, resamples)
    return Comparison(
        prompts=len(found.numbers),
        left_out=found.left_out,
        best_fixed=max(found.arms, key=lambda arm: float(found.arms[arm].mean())),
        utility=dict(zip(names, both[: len(names)], strict=True)),
        router_minus={
            name: interval for name, interval in zip(names, both[len(names) :], strict=True) if name != "router"
        },
    )


def paired_bootstrap(values: np.ndarray, seed: int, resamples: int = RESAMPLES) -> list[Interval]:
    """[lines, P] -> the mean of each line with its interval; every resample draws the same prompts for all lines."""
    rng = np.random.default_rng(seed)
    lines, prompts = values.shape
    means = np.empty((lines, resamples))
    for begin in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - begin)
        drawn = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=size)  # [size, P]: how often each
        means[:, begin : begin + size] = values @ drawn.T / prompts
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail), axis=1)
    return [Interval(float(line.mean()), float(low[i]), float(high[i])) for i, line in enumerate(values)]
