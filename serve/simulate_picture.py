"""Demand, replicas and queue over time, one column per scaler, on the same requests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.simulation.report import Outcome
from cluster.simulation.traffic import Traffic

_DPI = 110
_INK, _DEMAND, _ORDERED, _RUNNING, _QUEUE = "#222222", "#999999", "#E69F00", "#0072B2", "#D55E00"
_SMOOTHED = 15  # moments


def draw_comparison(path: Path, outcomes: Mapping[str, Outcome], traffic: Traffic, queue_limit: int, note: str) -> None:
    """Two rows: replicas with what demand is worth in them, and the queue. `outcomes`: one tier each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(outcomes), 7.2), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(outcomes), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 2))
    for column, (name, outcome) in enumerate(outcomes.items()):
        tier = outcome.tiers[0]
        minutes = [moment.at_s / 60 for moment in tier.moments]
        upper, lower = axes[0][column], axes[1][column]
        worth = [moment.demand_per_s / tier.capacity_per_s for moment in tier.moments]
        upper.fill_between(minutes, _smooth(worth), color=_DEMAND, alpha=0.35, linewidth=0, label="demand, in replicas")
        _steps(upper, minutes, [moment.target for moment in tier.moments], _ORDERED, "ordered")
        _steps(upper, minutes, [moment.running for moment in tier.moments], _RUNNING, "running")
        violations = 100 * tier.violations / max(1, tier.requests)
        hours = tier.replica_seconds / 3600
        upper.set_title(
            f"{name}\n{violations:.1f} % late or refused, {hours:.0f} replica-hours", fontsize=11, loc="left"
        )
        lower.plot(minutes, [moment.waiting for moment in tier.moments], color=_QUEUE, linewidth=1.2)
        lower.axhline(queue_limit, color=_INK, linewidth=0.8, linestyle="--")
        lower.set_xlabel("minutes")
    axes[0][0].set_ylabel("replicas")
    axes[1][0].set_ylabel("requests waiting")
    axes[1][0].annotate(
        "beyond this: refused", (0, queue_limit), (2, 3), textcoords="offset points", fontsize=9, color=_INK
    )
    axes[0][0].set_ylim(0, None)
    axes[1][0].set_ylim(0, 1.12 * queue_limit)
    axes[0][0].set_xlim(0, traffic.duration_s / 60)
    axes[0][-1].legend(frameon=False, loc="upper right", fontsize=9)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.text(0.008, 0.008, note, fontsize=8, color="#666666")
    figure.savefig(path)


def _steps(axis: Any, minutes: list[float], values: list[int], colour: str, label: str) -> None:
    axis.plot(minutes, values, color=colour, linewidth=1.3, drawstyle="steps-post", label=label)


def _smooth(values: list[float]) -> list[float]:
    """A running mean, since single seconds hold few requests."""
    half = _SMOOTHED // 2
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]
