"""On the tables that others made, where they are: SWITCHBOARD_DATA, or shared/data beside this tree."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bandit.context import Weights
from bandit.replay.entrants import entrants
from bandit.replay.harness import Harness, features_of
from bandit.replay.hull import hull_at
from bandit.replay.references import greedy_within
from bandit.replay.source import read_table
from bandit.replay.trial import Trial

FOLDER = Path(os.environ.get("SWITCHBOARD_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def path_of(name: str) -> str:
    if not (FOLDER / name).is_file():
        pytest.skip(f"{FOLDER / name} is not there: real tables are read from ../shared/data or SWITCHBOARD_DATA")
    return str(FOLDER / name)


@pytest.mark.parametrize(
    ("name", "prompts", "models", "best", "quality"),
    [
        ("cems_10k.csv.gz", 10_000, 4, "SDXL-Turbo", 0.6506),
        ("genaibench_527.csv", 525, 6, "DALLE_3", 0.6746),  # two prompts have a rating beyond the scale
        ("tifa160.csv", 160, 5, "sd2dot1", 0.7864),
        ("llmrouter_9models.csv.gz", 6_108, 9, "llama-3.1-nemotron-51b-instruct", 0.6165),
        ("routellm_mmlu_gsm8k.csv.gz", 15_361, 2, "gpt-4-1106-preview", 0.8102),
    ],
)
def test_table_is_read_whole(name: str, prompts: int, models: int, best: str, quality: float) -> None:
    table = read_table(path_of(name))
    assert table.quality.shape == (prompts, models)
    means = table.quality.mean(axis=0)
    assert table.models[int(np.argmax(means))] == best
    assert means.max() == pytest.approx(quality, abs=1e-3)


def test_regression_on_words_wins_where_seconds_are_charged_and_a_blind_router_does_not() -> None:
    table = read_table(path_of("cems_10k.csv.gz"))
    harness = Harness(table, features_of(table, "words-1", None), seeds=2)
    comparison = harness.run(Trial(Weights(latency_per_s=0.1)), entrants(["uniform"], {})).comparison
    lines = {line.name: line for line in comparison.lines}
    assert lines["full-information regression"].over_best_fixed_interval.low > 0
    assert 0.05 < (lines["full-information regression"].share_of_oracle or 0) < 0.3
    assert lines["uniform"].over_best_fixed_interval.high < 0


def test_hull_and_oracle_on_paretobandits_own_data_are_what_was_measured_before() -> None:
    """../shared/data/README.md: the hull at 2.8e-4 and 4.4e-4 USD, and the oracle."""
    if find_spec("pareto_bandit") is None:
        pytest.skip("the package paretobandit is not installed; its data is in its wheel, see ../shared/data/README.md")
    table = read_table("paretobandit")
    assert table.first_part is not None
    assert (table.first_part.sum(), len(table.prompts)) == (1785, 3609)
    assert table.cost_usd is not None
    counted = ~table.first_part
    costs, qualities = table.cost_usd[counted].mean(axis=0), table.quality[counted].mean(axis=0)
    assert hull_at(costs, qualities, 2.8e-4) == pytest.approx(0.859, abs=6e-4)
    assert hull_at(costs, qualities, 4.4e-4) == pytest.approx(0.900, abs=6e-4)
    oracle = greedy_within(1.0, table.quality, table.cost_usd, table.cost_usd, counted)
    assert (oracle * table.quality)[counted].sum(axis=1).mean() == pytest.approx(0.963, abs=6e-4)
