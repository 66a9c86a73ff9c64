"""A comparison as a plain table for a terminal, and as JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bandit.confidence import Interval

from .comparison import Comparison, Line
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
)


def text_of(comparison: Comparison) -> str:
    """One row per fixed arm, reference, policy and peer."""
    rows: list[Sequence[str]] = [_HEAD]
    for model, arm in comparison.fixed.items():
        mark = " (best fixed)" if model == comparison.best_fixed else ""
        means = (f"{arm.quality:.4f}", _number(arm.cost_usd), _number(arm.latency_s), f"{arm.utility:.4f}")
        rows.append((f"always {model[:40]}{mark}", *means, *[""] * (len(_HEAD) - 5)))
    rows += [_row(line) for line in comparison.lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    kept = [column for column in range(len(_HEAD)) if any(row[column] for row in rows[1:])]
    body = [
        "  ".join(row[c].ljust(widths[c]) if c == 0 else row[c].rjust(widths[c]) for c in kept).rstrip() for row in rows
    ]
    return "\n".join([comparison.trial.title, *body])


def json_of(table: Table, comparisons: Sequence[Comparison], run: dict[str, object]) -> dict[str, object]:
    """Everything that was reckoned; `run` says with what it was run."""
    return {
        "table": table.name,
        "prompts": len(table.prompts),
        "models": list(table.models),
        "notes": list(table.notes),
        "run": run,
        "interval": "95 %, pigeonhole bootstrap over prompts and seeds, paired",
        "trials": [_json(one) for one in comparisons],
    }


def _json(comparison: Comparison) -> dict[str, object]:
    answer = asdict(comparison)
    answer["title"] = comparison.trial.title
    return answer


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
    )


def _difference(value: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
