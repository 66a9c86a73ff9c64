"""What the demo shows: live tables on a terminal, plain lines elsewhere, and at its end Markdown for a README."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from replicas.scenes.prompts import KINDS

from .demo_references import Comparison, Interval
from .demo_rows import Row
from .demo_summary import RECENT, Summary, recent_shares, shares, summarise

_LINES = 10  # a phase, where there is no terminal


class View(Protocol):
    """Shows a phase while it runs."""

    def begin(self, title: str, total: int) -> None:
        """A phase begins."""

    def update(self, done: int, rows: Sequence[Row]) -> None:
        """`done` requests of this phase were sent; `rows` are those of this phase that are complete."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view_for(console: Console, arms: Sequence[str]) -> View:
    """Live tables on a terminal, a line now and then where output goes to a file."""
    return TerminalView(console, arms) if console.is_terminal and not console.is_dumb_terminal else PlainView(arms)


class TerminalView:
    """A progress bar and two tables, drawn over themselves."""

    def __init__(self, console: Console, arms: Sequence[str]) -> None:
        self._arms = arms
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        )
        self._task = self._progress.add_task("", total=None)
        self._live = Live(self._progress, console=console, refresh_per_second=4)

    def begin(self, title: str, total: int) -> None:
        self._progress.reset(self._task, total=total, description=title)

    def update(self, done: int, rows: Sequence[Row]) -> None:
        self._progress.update(self._task, completed=done)
        tables = [arms_table(rows, self._arms)]
        if all(row.by_router for row in rows):
            tables.append(kinds_table(rows, self._arms))
        self._live.update(Group(self._progress, *tables))

    def __enter__(self) -> TerminalView:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


class PlainView:
    """About ten lines a phase, without control codes."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._arms = arms
        self._title, self._total, self._said = "", 0, 0

    def begin(self, title: str, total: int) -> None:
        self._title, self._total, self._said = title, total, 0

    def update(self, done: int, rows: Sequence[Row]) -> None:
        step = done * _LINES // max(1, self._total)
        if step > self._said:
            self._said = step
            print(plain_line(self._title, done, self._total, rows, self._arms), flush=True)

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def plain_line(title: str, done: int, total: int, rows: Sequence[Row], arms: Sequence[str]) -> str:
    """One line: progress, means so far, and shares over the last requests."""
    found = summarise(rows)
    recent = shares(rows[-RECENT:], arms) or {}
    parts = " ".join(f"{arm} {percent(share)}" for arm, share in recent.items())
    return (
        f"{title} {done}/{total}  utility {number(found.utility)} quality {number(found.quality)} "
        f"p50 {number(found.latency_p50_s)} s" + (f"  last {min(RECENT, len(rows))}: {parts}" if parts else "")
    )


def arms_table(rows: Sequence[Row], arms: Sequence[str]) -> Table:
    """Per arm what its requests came to; at most 80 columns wide."""
    table = _table("what came of it", ("share", "quality", "p50 s", "USD/M", "utility"))
    drawn = shares(rows, arms) or {}
    for arm in arms:
        found = summarise([row for row in rows if row.arm == arm])
        table.add_row(arm, percent(drawn.get(arm)), *_cells(found))
    table.add_section()
    table.add_row("all", f"n={len(rows)}", *_cells(summarise(rows)))
    return table


def kinds_table(rows: Sequence[Row], arms: Sequence[str]) -> Table:
    """Per kind of prompt the arms' shares over the last requests; at most 80 columns wide."""
    table = _table(f"share over the last {RECENT} requests of a kind", KINDS)
    found = recent_shares(rows, arms)
    for arm in arms:
        table.add_row(arm, *(percent((found[kind] or {}).get(arm)) for kind in KINDS))
    return table


def markdown(
    rows: Sequence[Row], arms: Sequence[str], comparison: Comparison | None, reference_numbers: Sequence[int]
) -> str:
    """Tables for a README: the comparison on the measured prompts, and per kind who drew and who was right."""
    numbers = set(reference_numbers)
    routed = [row for row in rows if row.by_router and (not numbers or row.number in numbers)]
    parts = []
    if comparison is not None:
        parts.append(_comparison_table(rows, routed, arms, comparison, numbers))
    parts.append(_kinds_markdown(rows, routed, arms, numbers))
    return "\n\n".join(parts)


def number(value: float | None, digits: int = 2) -> str:
    """A number of fixed digits, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(share: float | None) -> str:
    """A share, a dash where there is none."""
    return "–" if share is None else f"{100 * share:.0f} %"


def signed(interval: Interval) -> str:
    """A difference with its interval."""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]".replace("-", "−")


def _comparison_table(
    rows: Sequence[Row], routed: Sequence[Row], arms: Sequence[str], comparison: Comparison, numbers: set[int]
) -> str:
    lines = [
        f"| {comparison.prompts} prompts | utility | router minus it, 95 % | quality (scorer) | fully right (check) "
        "| latency p50 | USD per million |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    named = {arm: [row for row in rows if row.model == arm and row.number in numbers] for arm in arms}
    every = [row for found in named.values() for row in found]
    entries = [("**router**", "router", routed)]
    entries += [
        (f"{arm} (best fixed)" if arm == comparison.best_fixed else arm, arm, found) for arm, found in named.items()
    ]
    entries += [("uniform", "uniform", every), ("oracle, in hindsight", "oracle", best_rows(every))]
    for title, key, some in entries:
        found = summarise(some)
        difference = "" if key == "router" else signed(comparison.router_minus[key])
        cells = [
            title, number(comparison.utility[key].mean, 3), difference, number(found.quality), percent(found.right),
            f"{number(found.latency_p50_s)} s", usd_per_million(found.cost_usd),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kinds_markdown(rows: Sequence[Row], routed: Sequence[Row], arms: Sequence[str], numbers: set[int]) -> str:
    lines = [
        "| share of the router's choice / fully right when asked | " + " | ".join(KINDS) + " |",
        "| --- |" + " --- |" * len(KINDS),
    ]
    for arm in arms:
        cells = []
        for kind in KINDS:
            chosen = shares([row for row in routed if row.kind == kind], arms)
            named = [row for row in rows if row.model == arm and row.kind == kind and row.number in numbers]
            cells.append(f"{percent(chosen[arm] if chosen else None)} / {percent(summarise(named).right)}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    own = [percent(summarise([row for row in routed if row.kind == kind]).right) for kind in KINDS]
    lines.append("| **router** | " + " | ".join(own) + " |")
    return "\n".join(lines)


def best_rows(rows: Sequence[Row]) -> list[Row]:
    """Per prompt the row of the highest utility: the oracle's."""
    best: dict[int, Row] = {}
    for row in rows:
        there = best.get(row.number)
        if row.utility is not None and (there is None or there.utility is None or row.utility > there.utility):
            best[row.number] = row
    return list(best.values())


def usd_per_million(cost_usd: float | None) -> str:
    """USD per million images, as single images cost too little to read."""
    return "–" if cost_usd is None else f"{cost_usd * 1e6:.3g}"


def _cells(found: Summary) -> tuple[str, ...]:
    return (
        number(found.quality), number(found.latency_p50_s), usd_per_million(found.cost_usd), number(found.utility)
    )  # fmt: skip


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("arm", no_wrap=True, max_width=24)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
