"""Tests of what joins the router with the simulator, and of the command."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from bandit.errors import UnknownPolicy
from bandit.policies import build
from bandit.simulation import ARMS, ONE_CALLER
from cluster.simulation.tiers import ServiceTime, TierModel
from cluster.simulation.traffic import Phase, Traffic
from serve import simulate
from serve.__main__ import main
from serve.simulate_picture import draw_comparison
from serve.simulate_routing import PolicyRouter, trained
from serve.simulate_study import CASES, OURS, SHIPPED, compare, large_cluster, with_target

TIERS = [TierModel(arm.tier, ServiceTime(arm.service_s)) for arm in ARMS]


class View:
    """A tier as the router sees it."""

    def __init__(self, in_flight: int, running: int = 1) -> None:
        self.in_flight, self.running, self.has_room = in_flight, running, True


def mean_shares(in_flight: tuple[int, int, int]) -> list[float]:
    """Of a trained policy, over the prompts."""
    router = PolicyRouter(trained("factored", 1500, 3, ARMS), ARMS, TIERS, ONE_CALLER, seed=3)
    rng, sums = Random(1), [0.0] * 3
    for _ in range(300):
        choice, shares = router.route(0.0, [View(count) for count in in_flight], rng)
        assert shares[choice] > 0
        assert sum(shares) == pytest.approx(1.0)
        sums = [total + share for total, share in zip(sums, shares, strict=True)]
    return [total / 300 for total in sums]


def test_router_sees_the_simulated_load() -> None:
    """A tier with a long queue loses its appeal."""
    calm, crowded = mean_shares((0, 0, 0)), mean_shares((0, 0, 60))
    assert calm[2] > 0.2
    assert crowded[2] < 0.2 * calm[2]


def test_router_may_send_to_a_tier_without_replicas() -> None:
    router = PolicyRouter(build("uniform"), ARMS, TIERS, ONE_CALLER, seed=0)
    _, shares = router.route(0.0, [View(0), View(0), View(0, running=0)], Random(0))
    assert shares == pytest.approx([1 / 3] * 3)


def test_large_cluster_is_deterministic_and_scales_every_tier() -> None:
    runs = [large_cluster(20, 3000, "uniform", seed=4) for _ in range(2)]
    for figures in runs:
        assert figures.pop("wall_s") > 0
        assert figures.pop("processor_s") > 0
    assert runs[0] == runs[1]
    assert runs[0]["requests"] == pytest.approx(3000, rel=0.06)
    assert {name for name, tier in runs[0]["tiers"].items() if tier["most_replicas"] > 0} == {
        "gan",
        "diffusion",
        "flow",
    }


def test_large_cluster_refuses_an_unknown_policy() -> None:
    with pytest.raises(UnknownPolicy):
        large_cluster(20, 100, "nobody", seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["single", "batches"])
def test_ours_misses_less_than_serve_as_shipped_and_costs_less(case: str) -> None:
    """What docs/scaling.md says of ten seeds, on two others, without tuning anything to the tier."""
    whole = CASES[case]
    rows, _ = compare(replace(whole, targets=(whole.shown,)), (101, 102), lambda name: None)
    found = {row["scaler"]: row for row in rows}
    ours, shipped, tuned = found[OURS], found[SHIPPED], found[with_target(whole.shown)]
    assert ours["violation_share"] < 0.7 * shipped["violation_share"]
    assert ours["replica_seconds"] < 0.7 * shipped["replica_seconds"]
    assert ours["violation_share"] < found["ours, queue alone"]["violation_share"]
    # Serve's, tuned to the tier by hand, is as good: a little less is late, and it costs a little more.
    assert ours["replica_seconds"] < tuned["replica_seconds"]
    assert ours["violation_share"] < 1.3 * tuned["violation_share"]


def test_picture_is_drawn(tmp_path: Path) -> None:
    case = CASES["single"]
    outcome = case.run(case.scalers()[OURS](), 11)
    draw_comparison(tmp_path / "one.png", {OURS: outcome}, case.traffic, 200, "a note")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_command_prints_a_line_per_tier_and_writes_the_numbers(tmp_path: Path) -> None:
    told = tmp_path / "numbers.json"
    arguments = ["cluster", "--replicas", "10", "--requests", "500", "--policy", "uniform", "--json", str(told)]
    done = CliRunner().invoke(simulate.app, arguments)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.output.splitlines()][:4] == ["tier", "gan", "diffusion", "flow"]
    assert json.loads(told.read_text())["requests"] > 400


def test_command_says_where_a_tier_got_nothing_and_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = large_cluster(5, 200, "uniform", seed=0)
    figures["tiers"]["flow"] |= dict.fromkeys(("p50_s", "p95_s", "p99_s"))
    monkeypatch.setattr(simulate, "large_cluster", lambda *_: figures)
    monkeypatch.setattr("sys.argv", ["serve", "simulate", "cluster", "--json", "/nowhere/at/all"])
    assert main() == 2
    told = capsys.readouterr()
    assert told.out.splitlines()[3].split()[3:6] == ["-"] * 3
    assert "/nowhere/at/all" in told.err


def test_command_writes_table_and_picture_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CASES["single"]
    quick = replace(whole, targets=(whole.shown,), traffic=Traffic((Phase(0.0, 2.0), Phase(60.0, 8.0)), 200.0))
    quick = replace(quick, tier=replace(quick.tier, initial_replicas=0))
    monkeypatch.setitem(simulate.CASES, "single", quick)
    done = CliRunner().invoke(simulate.app, ["scaling", "--seeds", "2", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "scaling-single.json").read_text())["rows"]
    assert {row["scaler"] for row in rows} == set(quick.scalers())
    assert all(row["scaler"] in done.output for row in rows)
    assert (tmp_path / "scaling-single.png").is_file()


def test_command_refuses_an_unknown_case(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["serve", "simulate", "scaling", "--case", "other"])
    assert main() == 2
    assert "known: single, batches" in capsys.readouterr().err


def test_command_names_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    first = dict.fromkeys(CASES["single"].scalers())
    monkeypatch.setattr(simulate, "compare", lambda case, seeds, say: ([], first))
    monkeypatch.setattr("sys.argv", ["serve", "simulate", "scaling", "--out", str(tmp_path / "file")])
    assert main() == 2
    assert "name a folder that can" in capsys.readouterr().err
