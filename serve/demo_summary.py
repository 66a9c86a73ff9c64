"""Means and shares of rows: of the router, of an arm, of a kind of prompt. Pure numbers; absent is None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from replicas.scenes.prompts import KINDS

from .demo_rows import Row

RECENT = 50  # requests of a kind that the live table looks back


@dataclass(frozen=True, slots=True)
class Summary:
    """What some requests came to. None where nothing was measured."""

    count: int
    quality: float | None
    right: float | None  # share fully right by the independent check
    latency_p50_s: float | None
    cost_usd: float | None  # per image
    utility: float | None


def summarise(rows: Sequence[Row]) -> Summary:
    """Means over the rows, the median for latency."""
    return Summary(
        count=len(rows),
        quality=_mean(row.quality for row in rows),
        right=_mean(None if row.right is None else float(row.right) for row in rows),
        latency_p50_s=median(row.latency_s for row in rows) if rows else None,
        cost_usd=_mean(row.cost_usd for row in rows),
        utility=_mean(row.utility for row in rows),
    )


def shares(rows: Sequence[Row], arms: Sequence[str]) -> dict[str, float] | None:
    """Arm -> share of the rows that it drew; None without rows."""
    drawn = Counter(row.arm for row in rows)
    return {arm: drawn[arm] / len(rows) for arm in arms} if rows else None


def recent_shares(rows: Sequence[Row], arms: Sequence[str], last: int = RECENT) -> dict[str, dict[str, float] | None]:
    """Kind -> arm -> share over the last few rows of this kind."""
    return {kind: shares([row for row in rows if row.kind == kind][-last:], arms) for kind in KINDS}


def moving_shares(
    rows: Sequence[Row], arms: Sequence[str], window: int
) -> tuple[tuple[int, ...], Mapping[str, tuple[float, ...]]]:
    """Request numbers, and arm -> share over the `window` rows that end there; begins with a quarter window."""
    ordered = sorted(rows, key=lambda row: row.number)
    numbers: list[int] = []
    lines: dict[str, list[float]] = {arm: [] for arm in arms}
    for end in range(max(1, window // 4), len(ordered) + 1):
        found = shares(ordered[max(0, end - window) : end], arms) or {}
        numbers.append(ordered[end - 1].number)
        for arm in arms:
            lines[arm].append(found[arm])
    return tuple(numbers), {arm: tuple(line) for arm, line in lines.items()}


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
