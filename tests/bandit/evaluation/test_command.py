"""python -m bandit evaluate, as an operator calls it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from bandit.__main__ import main
from bandit.errors import CannotEvaluate
from bandit.evaluation.command import evaluate, time_from
from bandit.evaluation.simulated_log import EVERY_S, START_S
from bandit.journal import Journal


def test_evaluate_prints_a_table_writes_json_and_shows_progress(
    even_log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answer.json"
    status = main(["evaluate", "--journal", even_log.url, "--policy", "factored", "--json", str(path)])
    shown = capsys.readouterr()
    assert status == 0
    assert json.loads(path.read_text())["verdict"] == shown.out.splitlines()[-1]
    assert "2999 of 2999 events (100%)" in shown.err
    for head in ("IPS", "self-normalised", "doubly robust", "earned in the log", "always ", "uniform"):
        assert head in shown.out


def test_evaluate_takes_times_options_and_an_arm(even_log, capsys: pytest.CaptureFixture[str]) -> None:
    since_s = START_S + 500 * EVERY_S
    arguments = ["--since", str(since_s), "--until", "2023-11-15T03:00+01:00", "--options", '{"floor": 0.3}']
    assert main(["evaluate", "--journal", even_log.url, "--policy", "flow@full", *arguments]) == 0
    shown = capsys.readouterr().out
    rounds = int((1_700_013_600 - since_s) / EVERY_S)
    assert f"{rounds} of {rounds} rounds are of use" in shown
    assert "2023-11-14 23:36:40 UTC to 2023-11-15 01:59:50 UTC" in shown


def test_evaluate_that_the_log_cannot_answer_has_status_1(stubborn_log, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--journal", stubborn_log.url, "--policy", "gan@one"]) == 1
    assert "the log cannot answer: gan@one puts 100% of its draws" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "clever"], "'clever' is neither a policy"),
        (["--policy", "factored", "--options", '{"floor": NaN}'], "option floor is nan; allowed"),
        (["--policy", "factored", "--options", "{floor"], "is not JSON"),
        (["--policy", "factored", "--options", "[1]"], "is no JSON object"),
        (["--policy", "uniform", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["--policy", "uniform", "--since", "2024-01-02", "--until", "2024-01-01"], "is not before until"),
        (["--policy", "uniform", "--since", "nan"], "since is nan"),
        (["--policy", "uniform", "--until", "2020-01-01"], "no closed decision from its start to 2020-01-01"),
        (["--policy", "uniform", "--alpha", "1"], "alpha is 1.0; allowed: above 0 and below 1"),
        (["--policy", "uniform", "--alpha", "nan"], "alpha is nan"),
        (["--policy", "uniform", "--least-effective", "nan"], "the least effective sample is nan"),
        (["--policy", "uniform", "--frozen"], "give that time as --since"),
        (["--policy", "uniform", "--json", "/nowhere/there.json"], "/nowhere/there.json cannot be written"),
    ],
)
def test_evaluate_with_bad_input_says_what_would_do(
    even_log, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--journal", even_log.url, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_evaluate_makes_no_journal_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mistyped.db"
    assert main(["evaluate", "--journal", f"sqlite:///{path}", "--policy", "uniform"]) == 2
    assert f"there is no journal {path}" in capsys.readouterr().err
    assert not path.exists()
    assert main(["evaluate", "--journal", "nonsense", "--policy", "uniform"]) == 2
    Journal.open(f"sqlite:///{path}").close()
    assert main(["evaluate", "--journal", f"sqlite:///{path}", "--policy", "uniform"]) == 2
    assert "the journal holds no closed decision; is the URL right" in capsys.readouterr().err


def test_progress_on_a_terminal_is_one_line(even_log) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    evaluate(even_log.journal, "uniform", said_on=terminal)
    assert terminal.getvalue() == "\r2999 of 2999 events (100%)\n"


def test_times_are_iso_8601_in_utc_or_unix_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    assert time_from(None, "since") is None
    assert time_from("1700000000", "since") == START_S
    assert time_from("2023-11-14T22:13:20", "since") == time_from("2023-11-14T23:13:20+01:00", "since") == START_S
    with pytest.raises(CannotEvaluate, match="--until '14:00 sharp' is no time; give 2026"):
        time_from("14:00 sharp", "until")
    monkeypatch.undo()
    time.tzset()
