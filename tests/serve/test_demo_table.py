import io
import re

import pytest
from rich.console import Console

from serve.demo_references import compare, measured
from serve.demo_table import (
    PlainView,
    TerminalView,
    arms_table,
    best_rows,
    kinds_table,
    markdown,
    percent,
    plain_line,
    view_for,
)


def shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(table)
    return console.file.getvalue()


def test_tables_fit_80_columns_with_every_number_whole(demo_rows, demo_arms) -> None:
    rows = demo_rows(400, 0)
    text = shown(arms_table(rows, demo_arms)) + shown(kinds_table(rows, demo_arms))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert text.count("diffusion@standard") == 2
    for title in ("share", "quality", "p50 s", "USD/M", "utility", "background", "relation"):
        assert title in text
    all_line = next(line for line in text.splitlines() if "n=400" in line)
    assert re.findall(r"\d\.\d\d", all_line)


def test_tables_of_nothing_show_dashes(demo_arms) -> None:
    assert "–" in shown(arms_table([], demo_arms))
    assert "–" in shown(kinds_table([], demo_arms))


def test_plain_view_writes_about_ten_lines_without_control_codes(demo_rows, demo_arms, capsys) -> None:
    rows = demo_rows(400, 0)
    view = view_for(Console(file=io.StringIO()), demo_arms)
    assert isinstance(view, PlainView)
    with view:
        view.begin("learning", 400)
        for done in range(1, 401):
            view.update(done, rows[:done])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("learning 400/400  utility 0.")
    assert all(line.isprintable() for line in lines)


def test_plain_line_before_the_first_row(demo_arms) -> None:
    assert plain_line("learning", 1, 9, [], demo_arms) == "learning 1/9  utility – quality – p50 – s"


def test_terminal_view_shows_progress_and_both_tables(demo_rows, demo_arms) -> None:
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True, color_system=None)
    view = view_for(console, demo_arms)
    assert isinstance(view, TerminalView)
    with view:
        view.begin("learning", 400)
        view.update(400, demo_rows(400, 0))
    text = console.file.getvalue()
    assert "400/400" in text
    assert "diffusion@standard" in text
    assert "relation" in text


def test_markdown_has_a_line_for_router_arms_uniform_and_oracle(demo_rows, demo_arms) -> None:
    rows = demo_rows(200, 60)
    found = measured(rows, demo_arms)
    comparison = compare(found, seed=0, resamples=500)
    first, second = markdown(rows, demo_arms, comparison, found.numbers).split("\n\n")
    lines = [line.split(" | ") for line in first.splitlines()]
    assert len({len(line) for line in lines}) == 1
    names = [line[0].strip("| ") for line in lines[2:]]
    assert names[0] == "**router**"
    assert names[-2:] == ["uniform", "oracle, in hindsight"]
    assert f"{comparison.best_fixed} (best fixed)" in names
    assert lines[2][1] == f"{comparison.utility['router'].mean:.3f}"
    assert len(second.splitlines()) == 2 + len(demo_arms) + 1


def test_best_rows_are_the_oracles(demo_rows) -> None:
    rows = [row for row in demo_rows(30, 30) if not row.by_router]
    best = best_rows(rows)
    assert len(best) == 30
    for row in best:
        assert row.utility == max(one.utility for one in rows if one.number == row.number)


@pytest.mark.parametrize(("share", "text"), [(None, "–"), (0.0, "0 %"), (0.456, "46 %"), (1.0, "100 %")])
def test_percent(share: float | None, text: str) -> None:
    assert percent(share) == text
