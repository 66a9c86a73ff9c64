"""The Serve config of a catalogue, deployed on a real Ray: it starts the product, and draws."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cluster.manifest.serve_config import Http, serve_config
from cluster.manifest.yaml_text import yaml_text
from serve.catalogue import parse_catalogue
from serve.serve_applications import serve_applications
from tests.e2e.cluster import CATALOGUE, free_port, replica_pids, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ONE_TIER = CATALOGUE[: CATALOGUE.index("  - name: slow")]
APPLICATIONS = ("tier-small", "scorer", "gateway", "learner")


class Deployed:
    """A Ray with an empty Serve, and a way to hand it a config, as `serve deploy` does."""

    def __init__(self, directory: Path) -> None:
        self.journal_url = f"sqlite:///{directory}/journal.db"
        self.http = Http(port=free_port())
        self.url = f"http://127.0.0.1:{self.http.port}"

    def config(self, catalogue: str) -> dict[str, Any]:
        """Written and read again, as an operator has it."""
        applications = serve_applications(parse_catalogue(catalogue, "e2e.yaml"), self.journal_url)
        return yaml.safe_load(yaml_text(serve_config(applications, self.http)))

    def deploy(self, catalogue: str) -> None:
        """Until all applications run and Serve has stopped what no longer belongs."""
        from ray import serve
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(self.config(catalogue)))

        def running() -> bool:
            states = serve.status().applications
            failed = {name: state.message for name, state in states.items() if state.status == "DEPLOY_FAILED"}
            assert not failed, failed
            return set(states) == set(APPLICATIONS) and all(state.status == "RUNNING" for state in states.values())

        wait_for(running, 180.0)

    def draw(self, **asked: Any) -> dict[str, Any]:
        """One image, with the decision behind it."""
        answer = httpx.post(f"{self.url}/v1/images/generations", json={"prompt": "two cats", **asked}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def deployed(root: Path) -> Iterator[Deployed]:
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    directory = Path(tempfile.mkdtemp(prefix="sb-"))  # short: Ray puts sockets there, whose paths are limited
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 lets any other program starve the replicas
    made = Deployed(directory)
    try:
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(directory / "ray"),
            _node_ip_address="127.0.0.1",
        )
        serve.start(
            proxy_location=ProxyLocation.EveryNode, http_options=HTTPOptions(host="127.0.0.1", port=made.http.port)
        )
        yield made
    finally:
        if ray.is_initialized():
            serve.shutdown()
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def test_the_config_starts_the_product_and_it_draws(deployed: Deployed) -> None:
    deployed.deploy(ONE_TIER)
    wait_for(lambda: httpx.get(f"{deployed.url}/-/healthz", timeout=5).status_code == 200)
    answer = deployed.draw(size="64x64")
    assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")
    why = answer["switchboard"]
    assert (why["tier"], why["cost_usd"]) == ("small", pytest.approx(0.001))


def test_a_new_price_and_preset_are_taken_without_a_restart(deployed: Deployed) -> None:
    before = {name: replica_pids(name) for name in APPLICATIONS}
    assert all(before.values())
    dearer = ONE_TIER.replace(
        "{fast: {price_usd: 0.001, service_s: 0.01}}",
        "{fast: {price_usd: 0.004, service_s: 0.01}, calm: {price_usd: 0.002, service_s: 1, options: {service_s: 0}}}",
    )
    assert dearer != ONE_TIER
    deployed.deploy(dearer)
    wait_for(lambda: deployed.draw(model="small@fast")["switchboard"]["cost_usd"] == pytest.approx(0.004))
    assert deployed.draw(model="small@calm")["switchboard"]["arm"] == "small@calm"
    assert {name: replica_pids(name) for name in APPLICATIONS} == before


def test_another_class_option_restarts_its_tier_alone(deployed: Deployed) -> None:
    before = {name: replica_pids(name) for name in APPLICATIONS}
    changed = ONE_TIER.replace("    family: fake\n", "    family: fake\n    options: {fail_every: 1000}\n")
    assert changed != ONE_TIER
    deployed.deploy(changed)
    wait_for(lambda: deployed.draw(model="small")["switchboard"]["tier"] == "small")
    after = {name: replica_pids(name) for name in APPLICATIONS}
    assert not set(after.pop("tier-small")) & set(before.pop("tier-small"))
    assert after == before
