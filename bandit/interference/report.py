"""The study as tables of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def interference_text(study: Mapping[str, Any]) -> str:
    """What `python -m bandit interference` prints."""
    return "\n".join(_interference(study))


def _interference(study: Mapping[str, Any]) -> Iterator[str]:
    made = study["made"]
    yield f"{made['machine']}, {made['date']}, commit {made['commit']}"
    for name, what in study["scenarios"].items():
        yield f"\n{name}: {what}"
        yield from _table(
            (
                *("load", "design", "truth", "bias", "+-", "covers", "own mean", "anytime", "wrong winner"),
                *("latency x", "true x"),
            ),
            [
                (
                    f"{row['load']:.2f}", row["design"], f"{row['truth']:+.4f}", f"{row['bias']:+.4f}",
                    f"{row['bias_se']:.4f}", f"{row['coverage']:.3f}", f"{row['own_coverage']:.3f}",
                    f"{row['anytime_coverage']:.3f}", f"{row['wrong_winner']:.3f}", f"{row['latency_ratio']:.2f}",
                    f"{row['true_latency_ratio']:.2f}",
                )
                for row in study["cells"] if row["scenario"] == name
            ],
        )  # fmt: skip
    yield "\nrelaxation: how long the queues remember the policy before"
    yield from _table(
        ("scenario", "load", "relaxation_s", "forgotten_s", "in flight, control", "in flight, treatment"),
        [
            (
                row["scenario"], f"{row['load']:.2f}", f"{row['relaxation_s']:.1f}", f"{row['forgotten_s']:.0f}",
                f"{row['backlog_control']:.1f}", f"{row['backlog_treatment']:.1f}",
            )
            for row in study["relaxation"]
        ],
    )  # fmt: skip
    yield "\nslots of a switchback of equal length"
    yield from _table(
        ("load", "slot_s", "carry_over_s", "truth", "bias", "+-", "half width", "covers"),
        [
            (
                f"{row['load']:.2f}", f"{row['slot_s']:.0f}", f"{row['carry_over_s']:.1f}", f"{row['truth']:+.4f}",
                f"{row['bias']:+.4f}", f"{row['bias_se']:.4f}", f"{row['half_width']:.4f}", f"{row['coverage']:.3f}",
            )
            for row in study["slots"]
        ],
    )  # fmt: skip
    yield "\none and the same policy beside itself, each seeing only its own load"
    yield from _table(
        ("case", "load of the large tier", "share", "latency x", "+-", "quality x", "with a shared view"),
        [
            (
                row["case"], f"{row['large_tier_load']:.1f}", f"{row['share']:.1f}", f"{row['latency_ratio']:.2f}",
                f"{row['latency_ratio_se']:.3f}", f"{row['quality_ratio']:.2f}",
                f"{row['shared_view_latency_ratio']:.2f}",
            )
            for row in study["own_view"]
        ],
    )  # fmt: skip
    yield "\na policy that learns, against itself"
    yield from _table(
        ("policy", "load", "learners", "bias", "+-", "spread", "claimed", "covers"),
        [
            (
                row["policy"], f"{row['load']:.2f}", row["learners"], f"{row['bias']:+.4f}", f"{row['bias_se']:.4f}",
                f"{row['spread']:.4f}", f"{row['claimed']:.4f}", f"{row['coverage']:.3f}",
            )
            for row in study["learned"]
        ],
    )  # fmt: skip


def peeking_text(study: Mapping[str, Any]) -> str:
    """What `python -m bandit peeking` prints."""
    found, made = study["false_alarms"], study["made"]
    lines = [
        f"{made['machine']}, {made['date']}, commit {made['commit']}",
        f"\nA/A, {found['runs']} runs, {found['looks']} daily looks, {found['per_look']} requests a variant and day, "
        f"alpha {found['alpha']:g}: share of runs with a false winner",
        *_table(
            ("stopped", "plain z-test", "+-", "anytime-valid", "+-"),
            [
                (
                    "at the first look that shows one", f"{found['plain_any_look']:.4f}",
                    f"{found['plain_any_look_se']:.4f}", f"{found['anytime_any_look']:.4f}",
                    f"{found['anytime_any_look_se']:.4f}",
                ),
                (
                    *("at the last look only", f"{found['plain_last_look']:.4f}", ""),
                    *(f"{found['anytime_last_look']:.4f}", ""),
                ),
            ],
        ),
        "\nrequests per variant until a true effect is found",
        *_table(
            ("effect", "tuned at", "z-test, planned", "anytime, same power", "x", "anytime, mean", "x", "wrong"),
            [
                (
                    f"{row['effect']:g} sd", f"{row['tuned_at']}", f"{row['fixed']:.0f}", f"{row['anytime_power']:.0f}",
                    f"{row['anytime_power'] / row['fixed']:.2f}", f"{row['anytime_mean']:.0f}",
                    f"{row['anytime_mean'] / row['fixed']:.2f}", f"{row['wrong']:.4f}",
                )
                for row in study["prices"]
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if not _number(cell) else cell.rjust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def _number(cell: str) -> bool:
    return cell[:1] in "+-0123456789" and cell not in ("+-",)
