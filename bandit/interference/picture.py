"""The two studies as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DPI = 120
_SPLIT, _USER, _BACK, _KEPT, _POOLS, _POOLS_USER = "#D55E00", "#CC79A7", "#0072B2", "#56B4E9", "#009E73", "#999999"
_STYLES = {
    "split": ("plain split, by request", _SPLIT, "o"),
    "split, by user": ("plain split, by user", _USER, "v"),
    "switchback, all kept": ("switchback, nothing dropped", _KEPT, "s"),
    "switchback": ("switchback, carry-over dropped", _BACK, "D"),
    "pools": ("pools, by request", _POOLS, "^"),
    "pools, by user": ("pools, by user", _POOLS_USER, "x"),
}
_INK, _MUTED = "#222222", "#666666"


def draw_interference(path: Path, study: Mapping[str, Any]) -> None:
    """Six panels: coverage of A/A, a canary, two A/B against the truth, likeness to itself, slots."""
    figure, axes = _figure(17.0, 10.4, 2, 3)
    _coverage(axes[0][0], study, "a-a", "A/A, drawn request by request: every design holds")
    _coverage(axes[0][1], study, "a-a sticky", "A/A, users who stick: requests are no units")
    _likeness(axes[0][2], study)
    _effect(axes[1][0], study, "a-b greedier", "A/B, B ignores whom it keeps waiting: the sign flips")
    _effect(axes[1][1], study, "a-b far greedier", "A/B, B hardly minds to wait: the harm is hidden")
    _slots(axes[1][2], study)
    plan = study["plan"]
    _finish(
        figure,
        path,
        study,
        f"{plan['runs']} runs of {plan['duration_s']:.0f} s a point, slots {plan['slot_s']:.0f} s, carry-over "
        f"{plan['carry_over_s']:.0f} s; bars are ± 2 standard errors of the simulation",
    )


def draw_peeking(path: Path, study: Mapping[str, Any]) -> None:
    """Two panels: false alarms by day, and the price in requests."""
    figure, axes = _figure(12.0, 5.0, 1, 2)
    alarms, found = axes[0][0], study["false_alarms"]
    days = range(1, found["looks"] + 1)
    alarms.plot(days, [100 * share for share in found["plain_by_look"]], color=_SPLIT, label="plain z-test")
    alarms.plot(days, [100 * share for share in found["anytime_by_look"]], color=_BACK, label="anytime-valid interval")
    alarms.axhline(100 * found["alpha"], color=_INK, linewidth=0.8, linestyle="--")
    alarms.annotate("alpha", (found["looks"], 100 * found["alpha"]), (0, 4), textcoords="offset points", ha="right")
    alarms.set(xlabel="days, one look each", ylabel="A/A runs with a winner so far, %", ylim=(0, None))
    alarms.set_title("An A/A looked at every day", fontsize=11, loc="left")
    alarms.legend(frameon=False)
    price, rows = axes[0][1], study["prices"]
    for offset, (key, words, colour) in enumerate(
        (("anytime_power", "for the same power (80 %)", _BACK), ("anytime_mean", "on average", _KEPT))
    ):
        places = [index + 0.38 * offset - 0.19 for index in range(len(rows))]
        heights = [row[key] / row["fixed"] for row in rows]
        price.bar(places, heights, 0.36, color=colour, label=words)
        for place, height in zip(places, heights, strict=True):
            price.annotate(
                f"{height:.2f}", (place, height), (0, 2), textcoords="offset points", ha="center", fontsize=9
            )
    price.axhline(1.0, color=_INK, linewidth=0.8, linestyle="--")
    price.set_xticks(range(len(rows)), [f"{row['effect']:g} sd\ntuned at\n{row['tuned_at']:,}" for row in rows])
    price.set_ylabel("requests, in those of a planned z-test")
    price.set_title("What it costs to be allowed to look", fontsize=11, loc="left")
    price.set_ylim(0, 1.25 * max(row["anytime_power"] / row["fixed"] for row in rows))
    price.legend(frameon=False, loc="upper left", ncols=2)
    _finish(figure, path, study, f"{found['runs']:,} runs, {found['per_look']} requests a variant and day")


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _finish(figure: Any, path: Path, study: Mapping[str, Any], note: str) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    made = study["made"]
    figure.tight_layout(rect=(0, 0.03, 1, 1), w_pad=2.5, h_pad=2.5)
    words = f"{made['machine']} · {made['date']} · commit {made['commit']} · {note}"
    figure.text(0.008, 0.01, words, fontsize=8, color=_MUTED)
    figure.savefig(path)


def _rows(study: Mapping[str, Any], scenario: str, design: str) -> list[dict[str, Any]]:
    return [row for row in study["cells"] if row["scenario"] == scenario and row["design"] == design]


def _coverage(axis: Any, study: Mapping[str, Any], scenario: str, title: str) -> None:
    for place, (design, (words, colour, mark)) in enumerate(_STYLES.items()):
        rows = _rows(study, scenario, design)
        if rows:
            shift = 0.004 * (place - 2)
            axis.errorbar(
                [row["load"] + shift for row in rows], [100 * row["coverage"] for row in rows],
                [200 * row["coverage_se"] for row in rows],
                color=colour, marker=mark, markersize=5, linewidth=1.2, label=words,
            )  # fmt: skip
    axis.axhline(95, color=_INK, linewidth=0.8, linestyle="--")
    axis.set(
        xlabel="load, of what all tiers can do", ylabel="intervals of 95 % that hold the truth (0), %", ylim=(0, 103)
    )
    axis.set_title(title, fontsize=11, loc="left")
    axis.legend(frameon=False, fontsize=9, loc="lower left")


def _effect(axis: Any, study: Mapping[str, Any], scenario: str, title: str) -> None:
    truth = _rows(study, scenario, "split")
    axis.plot(
        [row["load"] for row in truth], [row["truth"] for row in truth],
        color=_INK, linewidth=2.2, linestyle="--", label="truth: all on B − all on A",
    )  # fmt: skip
    for design, (words, colour, mark) in _STYLES.items():
        rows = _rows(study, scenario, design)
        if rows:
            axis.errorbar(
                [row["load"] for row in rows], [row["estimate"] for row in rows], [2 * row["bias_se"] for row in rows],
                color=colour, marker=mark, markersize=5, linewidth=1.2, label=words,
            )  # fmt: skip
    axis.axhline(0, color=_MUTED, linewidth=0.6)
    axis.set(xlabel="load, of what all tiers can do", ylabel="utility of B − A, as the design shows it")
    axis.set_title(title, fontsize=11, loc="left")
    axis.legend(frameon=False, fontsize=9, loc="best")


def _likeness(axis: Any, study: Mapping[str, Any]) -> None:
    colours = (_BACK, _POOLS, _SPLIT)
    for colour, case in zip(colours, dict.fromkeys(row["case"] for row in study["own_view"]), strict=False):
        for share, line in ((0.1, "-"), (0.9, ":")):
            rows = [row for row in study["own_view"] if row["case"] == case and row["share"] == share]
            axis.plot(
                [row["large_tier_load"] for row in rows], [100 * (row["latency_ratio"] - 1) for row in rows],
                color=colour, linestyle=line, marker="o", markersize=4, label=case if line == "-" else None,
            )  # fmt: skip
            place, gap = rows[-1]["large_tier_load"], 100 * (rows[-1]["latency_ratio"] - 1)
            axis.annotate(
                f"{gap:+.0f} %", (place, gap),
                (6, -3), textcoords="offset points", fontsize=9, color=colour,
            )  # fmt: skip
    axis.axhline(0, color=_INK, linewidth=0.8, linestyle="--")
    axis.set(
        xlabel="arrivals, of what the large tier can do",
        ylabel="latency of B against A, %: the same policy",
        xlim=(0.9, 3.6),
    )
    axis.set_title("A/A, each sees its own load: solid 10 % canary, dotted 90 %", fontsize=11, loc="left")
    axis.legend(frameon=False, fontsize=9, loc="upper left")


def _slots(axis: Any, study: Mapping[str, Any]) -> None:
    load = max(row["load"] for row in study["slots"])
    shares = sorted({row["carry_over_s"] / row["slot_s"] for row in study["slots"]})
    for share, colour, mark in zip(shares, (_KEPT, _BACK, _INK), ("s", "D", "o"), strict=False):
        rows = [r for r in study["slots"] if r["load"] == load and abs(r["carry_over_s"] - share * r["slot_s"]) < 1e-6]
        axis.errorbar(
            [row["slot_s"] for row in rows], [100 * row["bias"] / abs(row["truth"]) for row in rows],
            [200 * row["bias_se"] / abs(row["truth"]) for row in rows],
            color=colour, marker=mark, markersize=5, linewidth=1.2, label=f"{100 * share:.0f} % of each slot dropped",
        )  # fmt: skip
    axis.axhline(0, color=_INK, linewidth=0.8, linestyle="--")
    axis.set_xscale("log")
    axis.set_xticks([row["slot_s"] for row in rows], [f"{row['slot_s']:.0f}" for row in rows])
    axis.minorticks_off()
    axis.set(xlabel="slot length, s", ylabel="bias, % of the true effect")
    axis.set_title(f"Switchback at load {load:g}: how long must a slot be?", fontsize=11, loc="left")
    axis.legend(frameon=False, fontsize=9)
