"""python -m serve evaluate: the catalogue's policy and journal, the last days, errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bandit.errors import BanditError, CannotEvaluate
from bandit.evaluation.simulated_log import EVERY_S, START_S, simulate, write
from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LivePolicy
from bandit.journal import Journal
from bandit.policies import build
from serve.__main__ import app
from serve.catalogue import Catalogue, load_catalogue
from serve.evaluate import evaluate_days

ROUNDS = 700
END_S = START_S + ROUNDS * EVERY_S


@pytest.fixture(scope="module")
def journal_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('journal')}/journal.db"
    journal = Journal.open(url)
    write(journal, simulate(build("uniform"), ROUNDS, seed=1).records, "uniform")
    journal.close()
    return url


def catalogue(name: str, **options: object) -> Catalogue:
    embedded = load_catalogue().model_dump(by_alias=True)
    return Catalogue.model_validate(embedded | {"policy": {"name": name, "options": options}})


def test_live_is_the_catalogues_policy_with_its_options(journal_url: str) -> None:
    told = catalogue("factored", gamma_scale=0.0)
    for policy in ("live", "factored"):
        report = evaluate_days(told, journal_url, policy, clock=lambda: END_S)
        # Without gaps in the weighting, `factored` draws evenly but for its floor: that is how its options show.
        assert report.target.valuation.best.value == pytest.approx(report.uniform.valuation.best.value, abs=1e-3)
    own = evaluate_days(told, journal_url, "factored", options='{"gamma_scale": 1000}', clock=lambda: END_S)
    assert own.target.valuation.best.value > own.uniform.valuation.best.value + 0.01


def test_live_is_what_was_promoted_last(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url)
    write(journal, simulate(build("uniform"), ROUNDS, seed=1).records, "uniform")
    plan = {
        "experiment_id": "exp",
        "hypothesis": "none",
        "control": "old",
        "variants": [
            {"name": "old", "policy": "factored", "options": {}},
            {"name": "new", "policy": "fixed", "options": {"arm": "gan@one"}},
        ],
    }
    ledger = Ledger(journal)
    ledger.create(plan_from_json(plan), "ann", END_S)
    ledger.start("exp", "ann", END_S, catalogue=LivePolicy("factored", {}, "factored"))
    ledger.promote("exp", "new", "ann", END_S, force=True)
    journal.close()
    report = evaluate_days(catalogue("factored"), url, "live", clock=lambda: END_S)
    assert report.target.name == "fixed"
    assert report.target.valuation.best.value == report.fixed[0].valuation.best.value
    assert report.fixed[0].name == "always gan@one"


def test_days_count_back_from_now_and_what_came_before_is_learned(journal_url: str, tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    days = 400 * EVERY_S / 86400
    report = evaluate_days(load_catalogue(), journal_url, "flow@full", days=days, json_path=path, clock=lambda: END_S)
    assert report.decided == 400
    assert json.loads(path.read_text())["rounds"]["decided"] == 400
    with pytest.raises(CannotEvaluate, match="no closed decision from 2023-11-24T00:10:00"):
        evaluate_days(load_catalogue(), journal_url, "uniform", days=7, clock=lambda: END_S + 16 * 86400)


@pytest.mark.parametrize("days", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_days_that_cannot_be_are_refused(journal_url: str, days: float) -> None:
    with pytest.raises(CannotEvaluate, match="allowed: above 0, to 3650"):
        evaluate_days(load_catalogue(), journal_url, "uniform", days=days)


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_the_command_prints_the_answer(journal_url: str) -> None:
    result = called("uniform", "--journal", journal_url, "--days", "3650")
    assert result.exit_code == 0
    assert "uniform would have earned 0." in result.output
    result = called("gan@one", "--journal", journal_url, "--days", "3650", "--reward", "quality")
    assert result.exit_code == 0
    assert "reward: quality a request, in 0 to 1" in result.output


def test_the_command_has_status_1_where_the_log_cannot_answer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url)
    write(journal, simulate(build("fixed", {"arm": "gan@one"}), 150, seed=1).records, "fixed")
    journal.close()
    result = called("flow@full", "--journal", url, "--days", "3650")
    assert result.exit_code == 1
    assert "the log cannot answer" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clever"], "'clever' is neither a policy"),
        (["uniform", "--options", "{"], "is not JSON"),
        (["uniform", "--reward", "fun"], "reward is 'fun'; allowed: utility, quality"),
        (["factored", "--options", '{"floor": 7}'], "option floor is 7; allowed"),
    ],
)
def test_the_command_names_what_is_wrong(journal_url: str, arguments: list[str], said: str) -> None:
    result = called(*arguments, "--journal", journal_url, "--days", "3650")
    assert isinstance(result.exception, BanditError)
    assert said in str(result.exception)


def test_a_journal_that_is_not_there_is_one_line_and_status_2(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serve", "evaluate", "live", "--journal", f"sqlite:///{tmp_path}/none.db"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
    assert f"there is no journal {tmp_path}/none.db" in run.stderr
    assert not (tmp_path / "none.db").exists()
