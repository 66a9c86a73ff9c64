"""A comparison as a plain table for a terminal, and as JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bandit.confidence import Interval

from .harness import Outcome
from .line import Line
from .scenario import Adoption, mean_of
from .table import Table

_HEAD = (
    "",
    "quality",
    "USD",
    "s",
    "utility",
    "over best fixed",
    "%",
    "hull",
    "over hull",
    "oracle",
    "regr.",
    "ceiling",
    "off it, mean",
    "off it, most",
)
_ADOPTION_HEAD = ("", "adopted after", "settled after", "first drawn", "share before", "share at the end")


def text_of(outcome: Outcome) -> str:
    """One row per fixed arm, reference, policy and peer; below, how a scenario's model fared with each router."""
    comparison = outcome.comparison
    rows: list[Sequence[str]] = [_HEAD]
    for model, arm in comparison.fixed.items():
        mark = " (best fixed)" if model == comparison.best_fixed else ""
        means = (f"{arm.quality:.4f}", _number(arm.cost_usd), _number(arm.latency_s), f"{arm.utility:.4f}")
        rows.append((f"always {model[:40]}{mark}", *means, *[""] * (len(_HEAD) - 5)))
    rows += [_row(line) for line in comparison.lines]
    text = f"{comparison.trial.title}\n{_aligned(rows)}"
    if outcome.adoptions:
        fates = [_ADOPTION_HEAD, *(_fate(name, one) for name, one in outcome.adoptions.items())]
        text += f"\n\n{_aligned(fates)}"
    return text


def json_of(table: Table, outcomes: Sequence[Outcome], run: dict[str, object]) -> dict[str, object]:
    """Everything that was reckoned; `run` says with what it was run."""
    return {
        "table": table.name,
        "prompts": len(table.prompts),
        "models": list(table.models),
        "notes": list(table.notes),
        "run": run,
        "interval": "95 %, bootstrap over prompts and Student's t over seeds, paired",
        "trials": [_json(one) for one in outcomes],
    }


def _json(outcome: Outcome) -> dict[str, object]:
    adoptions = {
        name: {**asdict(one), "mean_step": one.mean_step, "mean_settled_step": one.mean_settled_step}
        for name, one in outcome.adoptions.items()
    }
    return {
        "title": outcome.comparison.trial.title,
        **asdict(outcome.comparison),
        "left_out": dict(outcome.left_out),
        "adoptions": adoptions,
    }


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; those that are empty in every row are left out."""
    kept = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in kept}
    lines = []
    for row in rows:
        cells = [row[one].ljust(widths[one]) if one == 0 else row[one].rjust(widths[one]) for one in kept]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _fate(name: str, adopted: Adoption) -> tuple[str, ...]:
    return (
        name,
        _steps(adopted.steps),
        _steps(adopted.settled_steps),
        _steps(adopted.first_drawn),
        f"{adopted.share_before:.1%}",
        f"{adopted.share_at_end:.1%}",
    )


def _steps(steps: Sequence[int | None]) -> str:
    mean = mean_of(steps)
    there = len(steps) - steps.count(None)
    return "never" if mean is None else f"{mean:.0f} ({there} of {len(steps)} seeds)"


def _row(line: Line) -> tuple[str, ...]:
    return (
        line.name,
        f"{line.quality:.4f}",
        _number(line.cost_usd),
        _number(line.latency_s),
        f"{line.utility:.4f}",
        _difference(line.over_best_fixed, line.over_best_fixed_interval),
        "" if line.over_best_fixed_percent is None else f"{line.over_best_fixed_percent:+.2f}",
        "" if line.hull_quality is None else f"{line.hull_quality:.4f}",
        "" if line.over_hull is None else _difference(line.over_hull, line.over_hull_interval),
        "" if line.share_of_oracle is None else f"{line.share_of_oracle:.0%}",
        "" if line.share_of_regression is None else f"{line.share_of_regression:.0%}",
        "" if line.off_ceiling_percent is None else f"{line.off_ceiling_percent:+.2f} %",
        "" if line.off_ceiling_mean_absolute_percent is None else f"{line.off_ceiling_mean_absolute_percent:.2f} %",
        "" if line.off_ceiling_largest_percent is None else f"{line.off_ceiling_largest_percent:+.2f} %",
    )


def _difference(value: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
