"""A live experiment on a real Ray: the HTTP API as an operator, the official client as many users, fake tiers.

One long story, told in the order of its tests.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from ray import serve
from typer.testing import CliRunner

from bandit.verify import verify
from serve.__main__ import app
from serve.app import gateway_application, gateway_place, journal_url
from serve.catalogue import parse_catalogue
from serve.deployment_options import gateway_options
from serve.settings import Settings
from tests.e2e.cluster import Served, free_port, kill_replicas, replica_pids, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

CATALOGUE = """
version: 1
policy: {name: factored, floor: 0.3}
learning: {join_window_s: 20, snapshot_every: 5, snapshot_after_s: 0.5}
weights:
  auto: {quality: 1.0, latency_per_s: 0.01, cost_per_usd: 1.0}
  low: {quality: 1.0, latency_per_s: 0.5, cost_per_usd: 9.0}
  medium: {quality: 1.0, latency_per_s: 0.01, cost_per_usd: 1.0}
  high: {quality: 1.0, latency_per_s: 0.0, cost_per_usd: 0.0}
scorer: {class: "replicas.fake:FakeScorer", threads: null, resources: {num_cpus: 0.1}}
tiers:
  - name: small
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {fast: {price_usd: 0.001, service_s: 0.01}}
    sizes: [64x64]
    resources: {num_cpus: 0.1}
  - name: slow
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {long: {price_usd: 0.01, service_s: 2.0, options: {service_s: 2.0}}}
    sizes: [256x256]
    resources: {num_cpus: 0.1}
"""
PLAN: dict[str, Any] = {
    "experiment_id": "three-ways",
    "hypothesis": "they do not differ, as the tiers are fakes",
    "control": "a",
    "variants": [
        {"name": "a", "policy": "factored", "options": {"floor": 0.3}, "weight": 0.4},
        {"name": "b", "policy": "fixed", "options": {"arm": "small@fast"}, "weight": 0.3},
        {"name": "c", "policy": "moving_average", "weight": 0.3},
    ],
}
USERS = [f"user {number}" for number in range(16)]

# Python runs a module of this name when it starts; in the gateway's process it makes a policy that can be broken.
SITECUSTOMIZE = """
import importlib.util, os, sys

class Breakable:
    def find_spec(self, name, path, target=None):
        if name != "bandit.moving_average":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            sound = module.MovingAveragePolicy.decide

            def decide(self, context, rng):
                if os.path.exists(os.environ["SWITCHBOARD_TEST_BREAK"]):
                    raise RuntimeError("broken by a test")
                return sound(self, context, rng)

            module.MovingAveragePolicy.decide = decide

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Breakable())
"""


@dataclass(frozen=True)
class Lab:
    """What is running, with the file whose existence breaks the moving average."""

    served: Served
    settings: Settings
    break_file: Path

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = httpx.post(f"{self.served.url}/v1/experiments{path}", json=body, timeout=60)
        assert response.status_code in (200, 201), response.text
        told: dict[str, Any] = response.json()
        return told

    def get(self, path: str) -> dict[str, Any]:
        response = httpx.get(f"{self.served.url}{path}", timeout=60)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()
        return told

    def command(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--url", self.served.url])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.served.journal_path) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    from bandit.journal import Journal
    from serve.local import running

    directory = Path(tempfile.mkdtemp(prefix="sb-"))
    (directory / "site").mkdir()
    (directory / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = directory / "journal.db"
    settings = Settings(port=free_port(), journal_url=f"sqlite:///{path}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(directory / "site"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("SWITCHBOARD_TEST_BREAK", str(directory / "break"))
        try:
            with running(parse_catalogue(CATALOGUE, "e2e.yaml"), settings, directory / "ray", print) as url:
                journal = Journal.open(f"sqlite:///{path}")
                yield Lab(Served(url, journal, path), settings, directory / "break")
                journal.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{lab.served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def first(client: openai.OpenAI, lab: Lab) -> dict[str, str | None]:
    """Each user's variant right after the start."""
    assert lab.post("", PLAN)["status"] == "created"
    assert lab.post("/three-ways/start", {})["status"] == "running"
    return variants(client)


def why(client: openai.OpenAI, user: str, **asked: Any) -> dict[str, Any]:
    answer = client.images.generate(**{"prompt": "two cats", "model": "auto", "size": "64x64", "user": user, **asked})
    told: dict[str, Any] = answer.switchboard  # type: ignore[attr-defined]
    return told


def variants(client: openai.OpenAI) -> dict[str, str | None]:
    with ThreadPoolExecutor(8) as pool:
        told = pool.map(lambda user: why(client, user), USERS)
        return {user: one["variant"] for user, one in zip(USERS, told, strict=True)}


def test_an_operator_on_this_machine_needs_no_key_and_a_proxied_caller_does(lab: Lab) -> None:
    """Ray Serve's proxy hands the address of the caller's connection on."""
    assert lab.get("/v1/experiments")["data"] == []
    for headers in ({"x-forwarded-for": "127.0.0.1"}, {"host": "switchboard.example"}):
        response = httpx.get(f"{lab.served.url}/v1/experiments", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "admin_key_not_set")


def test_every_user_keeps_a_variant(client: openai.OpenAI, first: dict[str, str | None]) -> None:
    assert set(first.values()) == {"three-ways:a", "three-ways:b", "three-ways:c"}
    assert variants(client) == first


def test_an_exposure_is_in_the_journal_before_anything_is_measured(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    query = "SELECT variant, status FROM decisions LEFT JOIN outcomes USING (decision_id) WHERE width_px = 256"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(why, client, USERS[0], size="256x256")
        assert wait_for(lambda: lab.rows(query)) == [(first[USERS[0]], None)]
        assert waiting.result()["tier"] == "slow"
    assert lab.rows(query) == [(first[USERS[0]], "served")]


def test_a_report_shows_all_variants(lab: Lab, first: dict[str, str | None]) -> None:
    told = lab.get("/v1/experiments/three-ways/report")
    exposures = {f"three-ways:{one['name']}": one["exposures"] for one in told["variants"]}
    assert exposures == dict(lab.rows("SELECT variant, count(*) FROM decisions GROUP BY variant"))
    users = Counter(first.values())
    assert {f"three-ways:{one['name']}": one["units"] for one in told["variants"]} == users
    text = lab.command("experiment", "report", "three-ways")
    assert text.startswith("three-ways (running, split): nobody has won")


def test_every_variant_that_learns_gets_snapshots_of_its_own(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    def learned() -> bool:
        (told,) = lab.get("/healthz")["experiments"]
        return all(one["snapshot_version"] is not None for one in told["variants"].values())

    wait_for(learned)
    told = {one["variant"]: one for one in (why(client, user) for user in USERS)}
    stored = dict(lab.rows("SELECT variant, max(snapshot_version) FROM decisions GROUP BY variant"))
    assert set(told) == set(stored)
    assert None not in stored.values()


def test_users_keep_their_variants_when_the_gateway_is_deployed_anew_and_when_it_is_killed(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    dearer = parse_catalogue(CATALOGUE.replace("price_usd: 0.001", "price_usd: 0.002"), "e2e.yaml")
    url = journal_url(dearer, lab.settings)
    place = gateway_place(url, lab.settings, dearer.gateway.max_body_bytes, open_on_loopback=True)
    application = gateway_application(place, gateway_options(dearer))
    serve.run(application, name="gateway", route_prefix="/")
    wait_for(lambda: why(client, "somebody else")["cost_usd"] == 0.002)
    assert variants(client) == first
    before = replica_pids("gateway")
    kill_replicas("gateway")
    wait_for(lambda: set(replica_pids("gateway")) - set(before) and is_up(lab))
    assert variants(client) == first


def is_up(lab: Lab) -> bool:
    try:
        return httpx.get(f"{lab.served.url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_ramp_moves_users_from_who_shrinks_to_who_grows_only(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    assert "a: factored (floor 0.3), 0.7" in lab.command(
        "experiment", "ramp", "three-ways", "--weights", "a=0.7,b=0.2,c=0.1"
    )
    after = variants(client)
    moved = {user: (first[user], after[user]) for user in USERS if first[user] != after[user]}
    assert moved
    assert {variant for _, variant in moved.values()} == {"three-ways:a"}
    told = lab.get("/v1/experiments/three-ways")
    assert told["counted_since"] == "its weights were changed"
    lab.post("/three-ways/ramp", {"weights": {"a": 0.4, "b": 0.3, "c": 0.3}})


def test_a_policy_that_raises_on_live_traffic_is_replaced_and_its_variant_stopped(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    current = variants(client)
    unlucky = next(user for user in USERS if current[user] == "three-ways:c")
    lab.break_file.touch()
    told = why(client, unlucky)
    assert (told["variant"], told["policy"]) == ("three-ways:c", "fallback:uniform")
    told = why(client, unlucky)
    assert (told["variant"], told["policy"], told["promoted_by"]) == (None, "factored", None)
    stopped = wait_for(lambda: lab.get("/v1/experiments/three-ways")["stopped_variants"].get("c"))
    assert "raised RuntimeError: broken by a test" in stopped["reason"]
    assert stopped["actor"].startswith("gateway ")
    after = variants(client)
    assert after == {user: None if one == "three-ways:c" else one for user, one in current.items()}
    assert lab.rows("SELECT count(*) FROM decisions WHERE policy LIKE 'fallback:%'") == [(1,)]


def test_a_promotion_changes_the_live_policy_until_it_is_rolled_back(
    client: openai.OpenAI, lab: Lab, first: dict[str, str | None]
) -> None:
    refused = httpx.post(f"{lab.served.url}/v1/experiments/three-ways/promote", json={"variant": "b"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no_evidence")
    assert "promoted (b)" in lab.command("experiment", "promote", "three-ways", "b", "--force")
    told = [why(client, user) for user in USERS[:4]]
    assert {(one["policy"], one["variant"], one["promoted_by"]) for one in told} == {("fixed", None, "three-ways")}
    assert lab.get("/healthz")["policy"]["promoted_by"] == "three-ways"
    assert "promoted by experiment three-ways" in lab.command("status")
    assert "rolled back" in lab.command("experiment", "rollback", "three-ways", "--reason", "it was a test")
    told = [why(client, user) for user in USERS[:4]]
    assert {(one["policy"], one["variant"], one["promoted_by"]) for one in told} == {("factored", None, None)}
    kinds = [event["kind"] for event in lab.get("/v1/experiments/three-ways")["events"]]
    assert kinds == ["created", "started", "ramped", "ramped", "variant_stopped", "promoted", "rolled_back"]


def test_the_journal_is_whole(lab: Lab, first: dict[str, str | None]) -> None:
    ((decisions,),) = lab.rows("SELECT count(*) FROM decisions")
    wait_for(lambda: lab.rows("SELECT count(*) FROM joins WHERE source = ''") == [(decisions,)])
    assert not verify(lab.served.journal).findings
