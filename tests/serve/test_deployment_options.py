"""What Serve is told is the same in code and in YAML, and nothing of it is dropped by Serve's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from cluster.manifest.serve_config import Http, serve_config
from cluster.manifest.yaml_text import yaml_text
from serve import builders
from serve.app import applications
from serve.catalogue import Catalogue, load_catalogue, parse_catalogue
from serve.serve_applications import serve_applications
from serve.settings import Settings
from tests.serve.cluster_catalogue import CLUSTER

EMBEDDED = load_catalogue()
UNLIKE = parse_catalogue(CLUSTER, "tiers.yaml")


def config_of(catalogue: Catalogue, journal_url: str | None = "sqlite:////data/journal.db") -> dict[str, Any]:
    """As an operator has it: written as YAML and read again."""
    return yaml.safe_load(yaml_text(serve_config(serve_applications(catalogue, journal_url), Http())))


@pytest.mark.parametrize("catalogue", [EMBEDDED, UNLIKE])
def test_serve_reads_all_that_is_written(catalogue: Catalogue) -> None:
    """Its schema ignores what it does not know, so what it read must be what was written."""
    written = config_of(catalogue)
    read = ServeDeploySchema.model_validate(written).model_dump(exclude_unset=True)
    assert json.loads(json.dumps(read, default=str)) == written
    for application in written["applications"]:
        (deployment,) = application["deployments"]
        given = deployment["autoscaling_config"]
        limits = AutoscalingConfig(**given)
        assert {name: getattr(limits, name) for name in given} == given


@pytest.mark.parametrize("catalogue", [EMBEDDED, UNLIKE])
def test_yaml_makes_the_same_applications_as_up(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    settings = Settings(salt="salt", host="0.0.0.0", journal_url=url)  # noqa: S104
    monkeypatch.setenv("SWITCHBOARD_SALT", "salt")
    direct = applications(catalogue, settings)
    config = ServeDeploySchema.model_validate(config_of(catalogue, url))
    assert [application.name for application in config.applications] == list(direct)
    for written in config.applications:
        module, _, name = written.import_path.partition(":")
        assert module == "serve.builders"
        built = getattr(builders, name)(written.args)._bound_deployment
        (options,) = written.deployments
        expected = direct[written.name].application._bound_deployment
        assert (built.name, options.name) == (expected.name, expected.name)
        assert built.init_args == expected.init_args
        assert options.user_config == expected.user_config or expected.user_config is None
        assert options.ray_actor_options.model_dump(exclude_unset=True) == expected.ray_actor_options
        assert AutoscalingConfig(**options.autoscaling_config) == expected._deployment_config.autoscaling_config
        assert options.max_ongoing_requests in (expected.max_ongoing_requests, None) or written.name == "learner"
        assert direct[written.name].route_prefix == written.route_prefix


def test_a_changed_price_changes_the_gateways_options_and_nothing_else() -> None:
    dearer = CLUSTER.replace("price_usd: 0.1,", "price_usd: 0.2,")
    assert dearer != CLUSTER
    before, after = config_of(UNLIKE), config_of(parse_catalogue(dearer, "tiers.yaml"))
    changed = [
        (old["name"], key)
        for old, new in zip(before["applications"], after["applications"], strict=True)
        for key in old
        if old[key] != new[key]
    ]
    assert changed == [("gateway", "deployments")]


def test_a_changed_preset_or_limit_changes_no_arguments() -> None:
    text = CLUSTER.replace("service_s: 5}", "service_s: 5, options: {service_s: 1}}").replace(
        "min_replicas: 0, max_replicas: 1", "min_replicas: 1, max_replicas: 1"
    )
    before, after = config_of(UNLIKE), config_of(parse_catalogue(text, "tiers.yaml"))
    for old, new in zip(before["applications"], after["applications"], strict=True):
        assert old.get("args") == new.get("args")
        assert (old["deployments"] == new["deployments"]) == (old["name"] not in ("tier-large", "gateway"))


def test_node_types_and_the_journal_do_not_reach_a_gateway() -> None:
    """Another node must not reconfigure gateways, and a URL may hold a password."""
    values = UNLIKE.gateway_values()
    assert not {"nodes", "journal"} & set(values)
    assert Catalogue.from_values(values).model_copy(update={"nodes": UNLIKE.nodes, "journal": UNLIKE.journal}) == UNLIKE
