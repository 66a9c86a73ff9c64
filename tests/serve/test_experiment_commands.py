"""The command line of experiments, on a gateway in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from bandit.experiments.design import check_policies, plan_from_json
from bandit.tables import experiment_events
from serve.__main__ import app
from serve.catalogue import load_catalogue
from serve.client import RequestFailed
from serve.deciding import catalogue_policy
from serve.errors import BadSettings, ServeError
from serve.experiment_commands import read_plan, read_weights
from tests.serve.in_process_gateway import Setting

PLAN = """
experiment_id: exp-1
hypothesis: "[bold]the large tier[/bold] is worth its price"
control: a
variants:
  - {name: a, policy: uniform}
  - {name: b, policy: fixed, options: {arm: large@full}}
"""


class Bridge:
    """As `Client`, to a gateway in this process."""

    setting: Setting

    def __init__(self, url: str, *, admin_key: str | None = None, actor: str | None = None) -> None:
        self.headers = {} if actor is None else {"x-switchboard-actor": actor}

    def get(self, path: str) -> dict[str, Any]:
        return self.ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.ask("POST", path, json=body)

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self.setting.request(method, path, headers=self.headers, **options)
        if response.status_code >= 400:
            raise RequestFailed(response.json()["error"]["message"])
        told: dict[str, Any] = response.json()
        return told


@pytest.fixture
def bridged(setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Setting:
    monkeypatch.setattr(Bridge, "setting", setting, raising=False)
    monkeypatch.setattr("serve.experiment_commands.Client", Bridge)
    monkeypatch.setattr("serve.__main__.Client", Bridge)
    monkeypatch.setattr("serve.experiment_commands.getpass.getuser", lambda: "alice")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return setting


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_an_experiment_goes_all_the_way_by_command(bridged: Setting, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.yaml")
    assert "no experiments yet" in said("experiment", "list")
    assert "experiment start exp-1" in said("experiment", "create", plan)
    assert "exp-1: running" in said("experiment", "start", "exp-1")
    for number in range(6):
        bridged.generate(user=f"user {number}")
    assert "0.5 of all units" in said("experiment", "ramp", "exp-1", "--traffic", "0.5", "--weights", "a=0.9,b=0.1")
    assert "experiment   exp-1, split: a (uniform), b (fixed)" in said("status")

    text = said("experiment", "report", "exp-1")
    first, *rest = text.splitlines()
    assert first.startswith("exp-1 (running, split): nobody has won")
    assert "Counted are decisions since its weights were changed" in text
    table = "\n".join(rest)
    assert "b - a" in table
    assert all(name in table for name in ("exposures", "utility *", "latency_p95_s", "error_rate"))
    assert json.loads(said("experiment", "report", "exp-1", "--json"))["winner"] is None

    refused = run("experiment", "promote", "exp-1", "b")
    assert isinstance(refused.exception, ServeError)
    assert "force it" in str(refused.exception)
    promoted = said("experiment", "promote", "exp-1", "b", "--force")
    assert "exp-1: promoted (b)" in promoted
    assert "live policy: fixed, promoted by exp-1" in promoted
    assert "live policy: fixed, promoted by exp-1" in said("experiment", "list")
    assert "fixed, promoted by experiment exp-1" in said("status")
    rolled_back = said("experiment", "rollback", "exp-1", "--reason", "too dear")
    assert "exp-1: rolled back" in rolled_back
    assert "live policy: uniform, the catalogue's" in rolled_back
    assert "changed nothing" not in rolled_back
    shown = said("experiment", "show", "exp-1")
    assert "[bold]the large tier[/bold]" in shown
    assert "promoted by alice (variant: b; forced: True; evidence: nobody has won" in shown
    assert "rolled back by alice (reason: too dear)" in shown
    assert json.loads(said("experiment", "show", "exp-1", "--json"))["status"] == "rolled_back"


def test_a_variant_is_stopped_by_command(bridged: Setting, tmp_path: Path) -> None:
    said("experiment", "create", str(tmp_path / "plan.yaml"))
    said("experiment", "start", "exp-1")
    text = said("experiment", "stop", "exp-1", "--variant", "b", "--reason", "a typo")
    assert "b: fixed (arm large@full), 0.5; stopped by alice: a typo" in text
    assert "exp-1: stopped" in text


def test_a_rollback_of_an_older_promotion_says_that_it_changed_nothing(bridged: Setting, tmp_path: Path) -> None:
    for name in ("exp-1", "exp-2"):
        (tmp_path / "plan.yaml").write_text(PLAN.replace("exp-1", name))
        said("experiment", "create", str(tmp_path / "plan.yaml"))
        said("experiment", "start", name)
        said("experiment", "promote", name, "b", "--force")
    text = said("experiment", "rollback", "exp-1")
    assert "live policy: fixed, promoted by exp-2; this changed nothing live" in text


def test_show_tells_the_whole_plan(bridged: Setting, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("""
experiment_id: exp-1
hypothesis: why not
control: a
kind: switchback
slot_s: 600
carry_over_s: 30
judged_by: {quality: 2, cost_per_usd: 7}
guardrails:
  - {metric: error_rate, limit: difference, value: 0.02}
variants:
  - {name: a, policy: factored, options: {floor: 0.2}}
  - {name: b, policy: uniform, weights: {quality: 1, latency_per_s: 0.5}}
""")
    said("experiment", "create", str(tmp_path / "plan.yaml"))
    text = said("experiment", "show", "exp-1")
    assert "a: factored (floor 0.2), 0.5, the control" in text
    assert "b: uniform, 0.5, weights quality 1, latency_per_s 0.5, cost_per_usd 0" in text
    assert "slots of 600 s, of which the first 30 s are not counted" in text
    assert "utility is measured with quality 2, latency_per_s 0, cost_per_usd 7" in text
    assert "guardrail: error_rate, difference 0.02" in text


def test_show_tells_pools(bridged: Setting, tmp_path: Path) -> None:
    variants = PLAN.replace("policy: uniform", "policy: uniform, pool: [small]").replace(
        "policy: fixed, options: {arm: large@full}", "policy: uniform, pool: [large@draft, large@full]"
    )
    (tmp_path / "plan.yaml").write_text(variants + "kind: pools\ntraffic: 0.5\n")
    assert "the same tiers" in said("experiment", "create", str(tmp_path / "plan.yaml"))
    text = said("experiment", "show", "exp-1")
    assert "b: uniform, 0.5, pool large@draft, large@full" in text
    assert "the same tiers" in text


def test_list_names_what_cannot_be_read(bridged: Setting) -> None:
    with bridged.journal.write() as connection:
        connection.execute(
            insert(experiment_events).values(
                position=1, experiment_id="exp-1", seq=1, at_s=1.0, kind="created", actor="test", body={"plan": {}}
            )
        )
    assert "exp-1 cannot be read: the plan has no experiment_id" in said("experiment", "list")


def test_a_report_tells_of_shadows(bridged: Setting, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN + "kind: shadow\n")
    said("experiment", "create", str(tmp_path / "plan.yaml"))
    said("experiment", "start", "exp-1")
    assert "b acts on nothing, and has decided nothing yet" in said("experiment", "report", "exp-1")
    bridged.generate()
    bridged.shadow_log.flush()
    bridged.loop.run_until_complete(bridged.gateway.scoring.drain())
    bridged.writer.close()
    assert "over 1 decisions it would have earned" in said("experiment", "report", "exp-1")


def test_the_example_runs_beside_the_embedded_catalogue(root: Path) -> None:
    example = root / "serve" / "experiment_example.yaml"
    plan = plan_from_json(read_plan(example))
    check_policies(plan)
    assert plan.weights == {"as-is": 0.5, "bolder": 0.5}
    live = catalogue_policy(load_catalogue().policy)
    control = plan.variant(plan.control)
    assert (control.policy, dict(control.options)) == (live.name, dict(live.options))
    assert f"experiment start {plan.experiment_id}" in example.read_text()


def test_the_example_can_be_created(bridged: Setting, root: Path) -> None:
    assert "created bolder-exploration" in said("experiment", "create", str(root / "serve" / "experiment_example.yaml"))


@pytest.mark.parametrize("text", ["", "a", "a=", "=0.5", "a=half", "a=0.5,a=0.5", "a=0.5,,b=0.5"])
def test_read_weights_refuses_what_is_no_list_of_weights(text: str) -> None:
    with pytest.raises(BadSettings, match=r"a=0\.9,b=0\.1"):
        read_weights(text)


def test_read_weights() -> None:
    assert read_weights("a=0.9, b=0.1") == {"a": 0.9, "b": 0.1}


def test_ramp_without_anything_to_ramp_says_so(bridged: Setting) -> None:
    assert "--traffic" in str(run("experiment", "ramp", "exp-1").exception)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"- a\n", "holds no plan"),
        (b"a: 1\na: 2\n", "plan.yaml:2"),
        (b"\xff", "UTF-8"),
        (None, "No"),
    ],
)
def test_read_plan_says_what_is_wrong_with_a_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "plan.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ServeError, match=words):
        read_plan(path)


def test_read_plan_takes_json(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"experiment_id": "e", "variants": [{"weight": 0.5}]}))
    assert read_plan(tmp_path / "plan.json") == {"experiment_id": "e", "variants": ({"weight": 0.5},)}
