"""The demo's one picture: how the choice moved per kind of prompt, and what it was worth against every reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from replicas.scenes.prompts import KINDS

from .demo_origin import Origin
from .demo_references import Comparison
from .demo_rows import Row
from .demo_summary import moving_shares, summarise
from .demo_table import percent, signed

SIZE_PX = (1920, 1260)
_DPI = 150
_COLOURS = ("#E69F00", "#56B4E9", "#0072B2", "#CC79A7", "#009E73", "#D55E00", "#F0E442", "#999999")  # Okabe and Ito's
_INK = "#222222"
_MUTED = "#666666"
_WINDOW = 20  # requests of a kind
_LABELLED_SHARE = 0.12  # thinner bands are too thin for a label


def draw_picture(
    path: Path,
    rows: Sequence[Row],
    arms: Sequence[str],
    comparison: Comparison | None,
    measured_numbers: Sequence[int],
    origin: Origin,
    note: str,
) -> None:
    """Write a PNG of SIZE_PX. Without a comparison only the shares and the qualities are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE_PX[0] / _DPI, SIZE_PX[1] / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    colours = {arm: _COLOURS[i % len(_COLOURS)] for i, arm in enumerate(arms)}
    routed = sorted((row for row in rows if row.by_router), key=lambda row: row.number)
    numbers = set(measured_numbers)
    compared = [row for row in rows if row.number in numbers] or routed

    title, subtitle = headline(comparison)
    figure.text(0.035, 0.955, title, fontsize=_fit(15, title, 86), fontweight="bold", color=_INK, va="center")
    figure.text(0.035, 0.918, subtitle, fontsize=_fit(9.5, subtitle, 150), color=_MUTED, va="center")
    top = figure.add_gridspec(1, len(KINDS), left=0.05, right=0.985, top=0.815, bottom=0.55, wspace=0.08)
    _draw_legend(figure, colours)
    meaning = "share of each arm in the router's choices, by kind of prompt"
    if numbers:
        meaning += "; from the dashed line on,\nthe same prompts were also sent to every arm afterwards"
    figure.text(0.985, 0.875, meaning, fontsize=8.5, color=_MUTED, ha="right", va="center", linespacing=1.35)
    for i, kind in enumerate(KINDS):
        axes = figure.add_subplot(top[0, i])
        _draw_shares(axes, kind, [row for row in routed if row.kind == kind], colours, numbers)
        if i:
            axes.set_yticklabels([])
    utility_axes = figure.add_axes((0.125, 0.1, 0.185, 0.31))
    if comparison is not None:
        _draw_utility(utility_axes, comparison, colours)
    else:
        utility_axes.axis("off")
        utility_axes.text(0, 0.5, "no reference requests,\nso nothing to compare with", fontsize=10, color=_MUTED)
    _draw_costs(figure.add_axes((0.535, 0.1, 0.135, 0.31)), compared, colours)
    _draw_right(figure.add_axes((0.853, 0.1, 0.125, 0.31)), compared, colours)
    footer = f"{origin.machine} · {origin.date} · commit {origin.commit} · {note}"
    figure.text(0.035, 0.018, footer, fontsize=_fit(7.5, footer, 200), color=_MUTED, va="center")
    figure.savefig(path, format="png", metadata={"Software": None})


def headline(comparison: Comparison | None) -> tuple[str, str]:
    """The finding in one line, the differences with their intervals in the next. What is not clear is not claimed."""
    if comparison is None:
        return "What the router chose", "no reference requests were measured, so nothing is said about its worth"
    fixed = comparison.router_minus[comparison.best_fixed]
    uniform = comparison.router_minus["uniform"]
    against_fixed = {
        1: f"beats the best single arm by {_gain(fixed.mean)}",
        0: "cannot be told from the best single arm",
        -1: f"loses {_gain(-fixed.mean)} to the best single arm",
    }[fixed.sign]
    against_uniform = {
        1: f"beats an even choice by {_gain(uniform.mean)}",
        0: "is not clearly apart from an even choice",
        -1: f"loses {_gain(-uniform.mean)} to an even choice",
    }[uniform.sign]
    subtitle = (
        f"utility a prompt on {comparison.prompts} prompts, router minus: {comparison.best_fixed} {signed(fixed)}, "
        f"uniform {signed(uniform)}, oracle {signed(comparison.router_minus['oracle'])} (95 %, paired)"
    )
    return f"The router {against_uniform} and {against_fixed}", subtitle


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions close to `values`, in their order, no two nearer than `gap`: for labels that would overlap."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    # The push went upwards only: move everything back by what it shifted on average.
    shift = sum(placed[i] - values[i] for i in order) / max(1, len(order))
    return [position - shift for position in placed]


def _fit(size: float, text: str, characters: int) -> float:
    """A font size at which a text that is too long for its line still fits."""
    return size * min(1.0, characters / max(1, len(text)))


def _gain(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _draw_legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=arm) for arm, colour in colours.items()]
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.03, 0.875), ncols=len(handles), frameon=False,
        fontsize=10, handlelength=1.1, handleheight=1.1, columnspacing=1.8,
    )  # fmt: skip


def _draw_shares(axes: Any, kind: str, rows: Sequence[Row], colours: Mapping[str, str], numbers: set[int]) -> None:
    window = max(4, min(_WINDOW, len(rows) // 3))
    x, lines = moving_shares(rows, tuple(colours), window)
    axes.set_title(f"{kind}", fontsize=11, color=_INK, loc="left", fontweight="bold")
    axes.set_title(f"window: {window} of {len(rows)}", fontsize=8, color=_MUTED, loc="right")
    if x:
        axes.stackplot(x, *lines.values(), colors=list(colours.values()), edgecolor="white", linewidth=0.6)
        axes.set_xlim(x[0], max(x[-1], x[0] + 1))
        bottom = 0.0
        for line in lines.values():
            share = line[-1]
            if share >= _LABELLED_SHARE:
                axes.text(
                    x[-1] - 0.03 * (x[-1] - x[0]), bottom + share / 2, percent(share),
                    ha="right", va="center", fontsize=9, fontweight="bold", color="black",
                )  # fmt: skip
            bottom += share
        if numbers and min(numbers) > x[0]:
            axes.axvline(min(numbers), color="black", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1)
    axes.set_yticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    axes.set_xlabel("request", fontsize=9, color=_MUTED)
    _plain(axes)


def _draw_utility(axes: Any, comparison: Comparison, colours: Mapping[str, str]) -> None:
    arms = sorted(colours, key=lambda arm: comparison.utility[arm].mean)
    keys = ["uniform", *arms, "router", "oracle"]
    titles = {"uniform": "uniform", "router": "router", "oracle": "oracle, in hindsight"}
    for y, key in enumerate(keys):
        interval = comparison.utility[key]
        colour = {"router": "black", "uniform": _MUTED, "oracle": _MUTED}.get(key) or colours[key]
        axes.plot((interval.low, interval.high), (y, y), color=colour, linewidth=2.6, solid_capstyle="round")
        axes.plot(interval.mean, y, "D" if key == "router" else "o", color=colour, markersize=7)
        difference = "" if key == "router" else signed(comparison.router_minus[key])
        axes.text(
            1.04, y, f"{interval.mean:.3f}".replace("-", "−"), transform=axes.get_yaxis_transform(), fontsize=9,
            va="center", color=_INK, fontweight="bold" if key == "router" else "normal",
        )  # fmt: skip
        axes.text(
            1.27, y, difference, transform=axes.get_yaxis_transform(), fontsize=8, va="center", color=_MUTED
        )  # fmt: skip
    axes.text(1.04, len(keys) - 0.3, "mean", transform=axes.get_yaxis_transform(), fontsize=8, color=_MUTED)
    axes.text(1.27, len(keys) - 0.3, "router minus it", transform=axes.get_yaxis_transform(), fontsize=8, color=_MUTED)
    names = [f"{titles.get(key, key)}{' *' if key == comparison.best_fixed else ''}" for key in keys]
    axes.set_yticks(range(len(keys)), names, fontsize=9.5, color=_INK)
    axes.get_yticklabels()[keys.index("router")].set_fontweight("bold")
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.set_xlabel("utility a prompt, 95 % interval   (* best single arm)", fontsize=9, color=_MUTED)
    axes.set_title("Worth", fontsize=11, color=_INK, loc="left", fontweight="bold", pad=14)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)


def _draw_costs(axes: Any, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    points = []
    for name in ("router", *colours):
        some = [row for row in rows if (row.by_router if name == "router" else row.model == name)]
        found = summarise(some)
        if found.quality is not None and found.cost_usd is not None:
            points.append((name, found.cost_usd * 1e6, found.quality))
    axes.set_title("Quality by the scorer, and price", fontsize=11, color=_INK, loc="left", fontweight="bold", pad=14)
    axes.set_xlabel("USD per million images", fontsize=9, color=_MUTED)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)
    if not points:
        return
    costs, qualities = [point[1] for point in points], [point[2] for point in points]
    low, high = min(qualities), max(qualities)
    room = max(0.05, high - low)
    axes.set_ylim(low - 0.25 * room, high + 0.25 * room)
    if min(costs) > 0 and max(costs) / min(costs) > 8:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.margins(x=0.2)
    heights = spread(qualities, 0.1 * room)
    for (name, cost, quality), height in zip(points, heights, strict=True):
        colour = colours.get(name, "black")
        axes.plot(cost, quality, "D" if name == "router" else "o", color=colour, markersize=8, zorder=3)
        axes.annotate(  # right of all points, where a label covers nothing
            name, (cost, quality), (1.05, height), textcoords=axes.get_yaxis_transform(), ha="left", va="center",
            fontsize=9, color=_INK, fontweight="bold" if name == "router" else "normal", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4},
        )  # fmt: skip


def _draw_right(axes: Any, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    axes.set_title("Fully right", fontsize=11, color=_INK, loc="left", fontweight="bold", pad=14)
    axes.set_xlabel("by the independent check", fontsize=9, color=_MUTED)
    axes.set_yticks(range(len(KINDS)), KINDS, fontsize=9.5, color=_INK)
    axes.set_ylim(len(KINDS) - 0.5, -0.5)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)
    for y in range(0, len(KINDS), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", zorder=0)
    told = False
    for y, kind in enumerate(KINDS):
        for i, name in enumerate((*colours, "router")):
            some = [
                row for row in rows if row.kind == kind and (row.by_router if name == "router" else row.model == name)
            ]
            share = summarise(some).right
            if share is None:
                continue
            told = True
            offset = 0.7 * (i / len(colours) - 0.5)  # the router is the last
            marker, size = ("D", 7) if name == "router" else ("o", 6.5)
            axes.plot(
                share, y + offset, marker, color=colours.get(name, "black"), markersize=size, markeredgecolor="white"
            )
    if not told:
        axes.text(0.5, len(KINDS) / 2 - 0.5, "not checked", fontsize=10, color=_MUTED, ha="center", va="center")


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8.5, colors=_MUTED, length=3)
    for label in axes.get_yticklabels():
        label.set_color(_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
