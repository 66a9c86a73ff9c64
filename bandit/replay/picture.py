"""Comparisons as one PNG: a row per trial, left what is lost to the oracle over time, right quality against charge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .comparison import Comparison
from .hull import hull_at
from .line import Line
from .references import BEST_FIXED, ORACLE, REGRESSION, UNIFORM

# After Okabe and Ito: told apart by readers who see fewer colours; the mark's shape says what kind a router is.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#8C6D31")
MARKS = {"reference": "D", "policy": "o", "peer": "s"}
REFERENCE_STYLES = {BEST_FIXED: "-.", REGRESSION: ":", UNIFORM: (0, (1, 4))}
AXES = {"cost_usd": "mean cost (USD per prompt)", "latency_s": "mean latency (seconds per prompt)"}


def draw(comparisons: Sequence[Comparison], title: str, path: Path) -> None:
    """Writes a PNG. Matplotlib without its global state, so that it may be drawn in any thread."""
    figure = Figure(figsize=(15, 1 + 5.2 * len(comparisons)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.subplots(len(comparisons), 2, squeeze=False)
    colours = _colours([line for comparison in comparisons for line in comparison.lines])
    for comparison, (left, right) in zip(comparisons, grid, strict=True):
        _regret(left, comparison, colours)
        _frontier(right, comparison, colours)
    figure.savefig(path, dpi=110)


def _colours(lines: Sequence[Line]) -> dict[str, str]:
    """The same in every row; policies and peers share colours, as dashes and marks tell them apart."""
    colours: dict[str, str] = {}
    for kind in ("policy", "peer"):
        names = dict.fromkeys(line.name for line in lines if line.kind == kind)
        colours |= {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    return colours


def _regret(axes: Axes, comparison: Comparison, colours: dict[str, str]) -> None:
    kinds = {line.name: line.kind for line in comparison.lines}
    for name, curve in comparison.regret.items():
        if name in REFERENCE_STYLES:
            style = REFERENCE_STYLES[name]
            axes.plot(comparison.regret_rounds, curve, color="0.4", label=name, linewidth=1.2, linestyle=style)
        elif name in colours:
            style = "-" if kinds[name] == "policy" else "--"
            axes.plot(comparison.regret_rounds, curve, style, color=colours[name], label=name, linewidth=1.6)
    oracle = "the oracle" if comparison.trial.ceiling_usd is None else "an oracle without a ceiling"
    axes.set_title(f"{comparison.trial.title}: lost to {oracle}", fontsize=10)
    axes.set_xlabel("rounds")
    axes.set_ylabel(f"cumulative utility lost to {oracle}")
    axes.grid(alpha=0.3)
    if comparison.regret:
        # What never learns may lose so much that all others would be one line.
        axes.set_ylim(
            0, min(max(curve[-1] for curve in comparison.regret.values()), 2.5 * comparison.regret[BEST_FIXED][-1])
        )
        axes.legend(fontsize=8, loc="upper left")


def _frontier(axes: Axes, comparison: Comparison, colours: dict[str, str]) -> None:
    axes.set_title(f"{comparison.trial.title}: counted rounds", fontsize=10)
    axes.set_ylabel("mean quality")
    axes.grid(alpha=0.3)
    charge = comparison.charge
    if charge is None:
        _bars(axes, comparison, colours)
        return
    axes.set_xlabel(AXES[charge])
    arms = {model: (getattr(arm, charge), arm.quality) for model, arm in comparison.fixed.items()}
    costs, qualities = np.array([one[0] for one in arms.values()]), np.array([one[1] for one in arms.values()])
    if costs.min() > 0 and costs.max() > 20 * costs.min():
        axes.set_xscale("log")
        spread = np.geomspace(costs.min(), costs.max(), 300)
    else:
        spread = np.linspace(costs.min(), costs.max(), 300)
    axes.plot(
        spread, [float(hull_at(costs, qualities, one)) for one in spread], color="0.5", label="hull of fixed arms"
    )
    axes.scatter(costs, qualities, marker="^", color="0.35", s=45, zorder=3, label="one model for every prompt")
    for model, (cost, quality) in arms.items():
        inward = "right" if cost > spread[len(spread) // 2] else "left"
        at = (-6 if inward == "right" else 6, -11)
        axes.annotate(model.rpartition("/")[2], (cost, quality), at, textcoords="offset points", fontsize=7, ha=inward)
    if comparison.trial.ceiling_usd is not None:
        axes.axvline(comparison.trial.ceiling_usd, color="0.4", linestyle=":", label="ceiling")
    for line in comparison.lines:
        axes.scatter(
            getattr(line, charge), line.quality, marker=MARKS[line.kind], s=55, zorder=4, label=line.name,
            color=colours.get(line.name, "none"), edgecolors="black", linewidths=0.8, hatch=_hatch(line),
        )  # fmt: skip
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _bars(axes: Axes, comparison: Comparison, colours: dict[str, str]) -> None:
    """Where nothing is charged there is no frontier: utility over the best fixed arm, with its interval."""
    lines = comparison.lines[::-1]
    axes.set_title(f"{comparison.trial.title}: over {comparison.best_fixed}, the best fixed arm", fontsize=10)
    gains = np.array([line.over_best_fixed for line in lines])
    ends = np.array([[line.over_best_fixed_interval.low, line.over_best_fixed_interval.high] for line in lines])
    errors = np.abs(ends - gains[:, None]).T
    axes.barh(
        [line.name for line in lines], gains, xerr=errors, color=[colours.get(line.name, "0.8") for line in lines]
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylabel("")
    axes.set_xlabel("mean utility over the best fixed arm (95 % interval)")


def _hatch(line: Line) -> str | None:
    """References are hollow; a hatch tells them apart."""
    return {ORACLE: "xxxx", REGRESSION: "////"}.get(line.name)
