from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandit.__main__ import main
from bandit.replay.command import add_parser
from tests.bandit.replay.made_up_table import made_up, rows_of, write_csv

TABLE = made_up(300)


def run(folder: Path, *arguments: str) -> int:
    path = write_csv(folder / "cats.csv", rows_of(TABLE))
    return main(["replay", str(path), "--seeds", "2", "--out", str(folder / "out"), *arguments])


def written(folder: Path, name: str = "cats") -> dict[str, object]:
    value = json.loads((folder / "out" / f"{name}.json").read_text())
    assert isinstance(value, dict)
    return value


def test_table_json_and_picture_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--policy", "vowpal", "--policy", 'fixed={"arm": "large"}', "--weights", "0", "20") == 0
    result = written(tmp_path)
    assert (result["table"], result["prompts"], result["models"]) == ("cats", 300, ["small", "large"])
    first, second = result["trials"]  # type: ignore[misc]
    assert (first["title"], second["title"]) == ("quality", "quality − 20 × USD")
    lines = {line["name"]: line for line in first["lines"]}
    assert set(lines) == {
        "uniform reference", "full-information regression", "oracle", "vowpal", 'fixed={"arm": "large"}'
    }  # fmt: skip
    line = lines["vowpal"]
    assert {"quality", "cost_usd", "latency_s", "utility", "hull_quality", "over_hull", "over_hull_interval"} <= set(
        line
    )
    assert line["over_best_fixed_interval"]["low"] < line["over_best_fixed"] < line["over_best_fixed_interval"]["high"]
    assert lines['fixed={"arm": "large"}']["over_best_fixed"] == 0
    printed = capsys.readouterr().out
    assert f"{line['quality']:.4f}" in printed
    assert "always large (best fixed)" in printed
    picture = Image.open(tmp_path / "out" / "cats.png")
    assert picture.width > 1000
    assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_run_is_the_same_twice(tmp_path: Path) -> None:
    run(tmp_path, "--policy", "epsilon_greedy", "--weights", "0")
    first = written(tmp_path)
    run(tmp_path, "--policy", "epsilon_greedy", "--weights", "0")
    assert written(tmp_path) == first


def test_without_weights_quality_and_each_charge_is_tried(tmp_path: Path) -> None:
    run(tmp_path, "--policy", "uniform")
    titles = [trial["title"] for trial in written(tmp_path)["trials"]]  # type: ignore[attr-defined]
    assert [title.partition("−")[2].strip().rpartition(" ")[2] for title in titles] == ["", "s", "USD"]


def test_ceiling_leaves_out_who_cannot_hold_it_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--policy", "uniform", "--ceiling", "0.005") == 0
    (trial,) = written(tmp_path)["trials"]  # type: ignore[misc]
    assert list(trial["left_out"]) == ["uniform"]
    assert [line["kind"] for line in trial["lines"]] == ["reference"] * 3
    told = capsys.readouterr()
    assert "without uniform: policy 'uniform' has no option 'budget_usd'" in told.err
    assert "off it, mean  off it, most" in told.out
    for line in trial["lines"]:
        assert abs(line["off_ceiling_percent"]) <= line["off_ceiling_mean_absolute_percent"] + 1e-9
        assert abs(line["off_ceiling_largest_percent"]) >= line["off_ceiling_mean_absolute_percent"] - 1e-9


def test_seeds_are_ten_unless_said_otherwise() -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    assert parser.parse_args(["replay", "table.csv"]).seeds == 10


def test_newcomer_is_reported_per_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = [*rows_of(TABLE), *({**row, "model": "third"} for row in rows_of(TABLE)[::2])]
    path = write_csv(tmp_path / "cats.csv", table)
    arguments = ["--policy", "uniform", "--newcomer", "third", "--at", "100", "--weights", "0", "--seeds", "2"]
    assert main(["replay", str(path), "--out", str(tmp_path / "out"), *arguments]) == 0
    (trial,) = written(tmp_path, "cats-newcomer")["trials"]  # type: ignore[misc]
    assert len(trial["adoptions"]["uniform"]["steps"]) == 2
    assert trial["adoptions"]["uniform"]["mean_step"] < 60
    assert "third comes at round 100" in capsys.readouterr().out


def test_vectors_reach_the_features(tmp_path: Path) -> None:
    """They tell what the words do not: which of the models is the better one."""
    rng = np.random.default_rng(0)
    side = TABLE.quality[:, 0] > TABLE.quality[:, 1]
    table = replace(TABLE, prompts=("a cat",) * 300)
    np.save(tmp_path / "v.npy", (rng.normal(0, 0.1, (300, 4)) + side[:, None]).astype(np.float32))
    path = write_csv(tmp_path / "cats.csv", rows_of(table))
    arguments = ["--policy", "uniform", "--weights", "0", "--vectors", str(tmp_path / "v.npy")]
    assert main(["replay", str(path), "--seeds", "2", "--out", str(tmp_path / "out"), *arguments]) == 0
    (trial,) = written(tmp_path)["trials"]  # type: ignore[misc]
    regression = next(line for line in trial["lines"] if line["name"] == "full-information regression")
    assert regression["share_of_oracle"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policy", "nobody"], "there is no policy 'nobody'"),
        (["--options", "{"], "--options '{' is not JSON"),
        (["--count-from", "300"], "counting from round 300 leaves none"),
        (["--split", "on"], "has no part of its own"),
        (["--vectors", "nowhere.npz"], "nowhere.npz cannot be read"),
        (["--newcomer", "third"], "there is no model 'third'"),
        (["--newcomer", "small", "--removed", "large"], "give one of"),
        (["--removed", "large"], "two models only"),
        (["--features", "words-1+minilm-1"], "needs a sentence vector"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(tmp_path, *arguments) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--ceiling", "0"], ["--weights", "-1"], ["--at", "x"]])
def test_number_out_of_range_is_refused_by_the_parser(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, *arguments)
