"""What an experiment measures: names, directions and how each is said. The numbers come from `observations.py`.

A request that got no image counts in utility with quality 0, the time it took and no cost, and in the error rate: else
a policy could win by failing on what is hard, or by being so slow that callers leave. One whose quality nobody has
measured yet counts as an exposure only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per variant. `quantile` is None for means."""

    name: str
    higher_is_better: bool
    words: str  # how a sentence calls it
    quantile: float | None = None
    signed: bool = False  # whether it may be 0 or less, so that no share of it means anything


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("utility", True, "utility per request, with the weights of its caller", signed=True),
        Metric("quality", True, "measured quality of served images"),
        Metric("latency_s", False, "mean seconds that a caller waited for an image"),
        Metric("latency_p50_s", False, "median seconds that a caller waited for an image", 0.5),
        Metric("latency_p95_s", False, "95th percentile of the seconds that a caller waited for an image", 0.95),
        Metric("cost_usd", False, "USD per image"),
        Metric("error_rate", False, "share of requests that got no image: failed, refused, or left by their caller"),
        Metric("rating", True, "rating by the caller"),
    )
}
MEANS = tuple(name for name, metric in METRICS.items() if metric.quantile is None)
