import json

import pytest
from typer.testing import CliRunner

from serve import __main__ as command_line
from serve import demo as demo_module
from serve.demo import Plan, demo, send_all
from serve.demo_table import PlainView
from serve.demo_traffic import GatewayAway, Traffic
from serve.errors import BadSettings


@pytest.fixture(autouse=True)
def no_patience(monkeypatch) -> None:
    monkeypatch.setattr(demo_module, "_SETTLE_S", 0.5)
    monkeypatch.setattr("serve.demo_traffic._POLL_S", 0.01)


def test_demo_writes_picture_and_numbers_and_prints_tables(fake_gateway, tmp_path, capsys) -> None:
    out = tmp_path / "new" / "demo.png"
    assert demo(fake_gateway.url, Plan(20, 5, 0, "auto"), out) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    results = json.loads(out.with_suffix(".json").read_text())
    assert len(results["rows"]) == 20 + 5 * 2
    assert results["comparison"]["best_fixed"] == "two@fine"
    assert results["comparison"]["router_minus"]["two@fine"]["mean"] == pytest.approx(-0.25)
    assert results["comparison"]["utility"]["oracle"]["mean"] == pytest.approx(0.6)
    assert results["weights"] == {"quality": 1.0, "latency_per_s": 0.1, "cost_per_usd": 100.0}
    assert results["ended"] is None
    text = capsys.readouterr().out
    assert "| two@fine (best fixed) | 0.600 | −0.250 [−0.250, −0.250] | 0.75 |" in text
    assert "equally fast in both phases: +0.000 [+0.000, +0.000].\n" in text
    assert "\x1b" not in text
    assert "png" not in json.dumps(results["rows"])


def test_references_come_after_all_that_is_measured_and_use_the_same_prompts(fake_gateway) -> None:
    send_all(fake_gateway.url, Plan(12, 4, 0, "auto"), PlainView)
    models = [body["model"] for body in fake_gateway.asked]
    assert models[:12] == ["auto"] * 12
    assert sorted(models[12:]) == ["one@fast"] * 4 + ["two@fine"] * 4
    by_prompt = {(body["prompt"], body["seed"]) for body in fake_gateway.asked[8:12]}
    assert {(body["prompt"], body["seed"]) for body in fake_gateway.asked[12:]} == by_prompt


@pytest.mark.parametrize("after", [7, 14])
def test_gateway_that_goes_away_midway_leaves_partial_results(fake_gateway, tmp_path, capsys, after: int) -> None:
    fake_gateway.stop_after = after
    out = tmp_path / "demo.png"
    assert demo(fake_gateway.url, Plan(10, 5, 0, "auto"), out) == 1
    results = json.loads(out.with_suffix(".json").read_text())
    assert "does not answer" in results["ended"]
    assert 0 < len(results["rows"]) <= after
    assert out.exists()
    assert "partial: " in capsys.readouterr().out


def test_ctrl_c_midway_leaves_partial_results(fake_gateway, tmp_path, capsys, monkeypatch) -> None:
    send = Traffic.send

    def interrupted(self: Traffic, prompt, model: str) -> bool:
        if prompt.number == 6:
            raise KeyboardInterrupt
        return send(self, prompt, model)

    monkeypatch.setattr(Traffic, "send", interrupted)
    out = tmp_path / "demo.png"
    assert demo(fake_gateway.url, Plan(10, 5, 0, "auto"), out) == 130
    assert json.loads(out.with_suffix(".json").read_text())["ended"] == "stopped by Ctrl-C"
    assert "partial: stopped by Ctrl-C" in capsys.readouterr().out


def test_demo_without_a_server_is_one_line_and_status_2(tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "demo.png"
    monkeypatch.setattr("sys.argv", ["serve", "demo", "--url", "http://127.0.0.1:9", "--out", str(out)])
    assert command_line.main() == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "http://127.0.0.1:9 does not answer" in said.err
    assert said.out == ""
    assert not out.exists()


def test_demo_where_nothing_answers_raises(tmp_path) -> None:
    with pytest.raises(GatewayAway):
        demo("http://127.0.0.1:9", Plan(10, 5, 0, "auto"), tmp_path / "demo.png")


@pytest.mark.parametrize(("count", "given", "references"), [(400, None, 120), (30, None, 10), (30, 30, 30), (5, 0, 0)])
def test_plan_takes_at_most_a_third_by_itself(count: int, given: int | None, references: int) -> None:
    assert Plan.checked(count, given, 0, "auto").references == references


@pytest.mark.parametrize(("count", "references"), [(0, None), (-1, None), (10, 11), (10, -1)])
def test_plan_refuses_impossible_counts(count: int, references: int | None) -> None:
    with pytest.raises(BadSettings, match=r"--(count|references) is"):
        Plan.checked(count, references, 0, "auto")


def test_out_must_be_a_png(tmp_path) -> None:
    with pytest.raises(BadSettings, match=r"must end in \.png"):
        demo("http://127.0.0.1:9", Plan(10, 5, 0, "auto"), tmp_path / "demo.json")


def test_command_says_what_it_takes() -> None:
    shown = CliRunner().invoke(command_line.app, ["demo", "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for option in ("--count", "--references", "--seed", "--quality", "--out", "--url"):
        assert option in shown.output
