"""A cluster file that Ray's own schema takes, with token, private dashboard and no secret in it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.manifest.ray_up import Machines, ray_up
from cluster.manifest.yaml_text import yaml_text
from tests.cluster.manifest.unlike_nodes import CPU, HEAD, L4, NODES

AWS = Machines({"type": "aws", "region": "eu-west-1"})
IMAGE = Machines({"type": "aws", "region": "eu-west-1"}, name="images", ssh_user="ray", image="registry.example/sb:1")


def written(machines: Machines = AWS) -> dict[str, Any]:
    return yaml.safe_load(yaml_text(ray_up(machines, NODES)))


@pytest.mark.parametrize("machines", [AWS, IMAGE])
def test_rays_schema_takes_it_with_its_defaults_filled_in(machines: Machines) -> None:
    filled = prepare_config(written(machines))
    validate_config(filled)
    assert filled["available_node_types"]["l4"]["resources"] == L4.ray_resources()


def test_rays_schema_refuses_a_misspelt_key() -> None:
    """That the check above can fail."""
    wrong = written()
    wrong["available_node_types"]["cpu"]["min_worker"] = 1
    with pytest.raises(Exception, match="min_worker"):
        validate_config(prepare_config(wrong))


def test_every_node_type_is_there_with_what_it_gives() -> None:
    types = written()["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert "max_workers" not in types["head"]
    for node in (CPU, L4):
        assert types[node.name] == {
            "resources": node.ray_resources(),
            "labels": node.ray_labels(),
            "min_workers": node.min_nodes,
            "max_workers": node.max_nodes,
            "node_config": node.node_config,
        }
    assert (written()["head_node_type"], written()["max_workers"]) == (HEAD.name, 7)


@pytest.mark.parametrize("machines", [AWS, IMAGE])
def test_every_ray_asks_for_the_token_and_reads_secrets_from_a_file(machines: Machines) -> None:
    config = written(machines)
    home = f"/home/{machines.ssh_user}"
    assert config["file_mounts"][f"{home}/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["file_mounts"][f"{home}/switchboard.env"] == "switchboard.env"
    starts = [config[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker")]
    for start in starts:
        before, _, after = start.partition(" ray start ")
        assert after
        assert f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={home}/.ray/auth_token" in before
        assert f"set -a; . {home}/switchboard.env; set +a;" in before
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "--num-cpus=0" in starts[0]


def test_the_tree_comes_by_image_or_is_copied_and_installed() -> None:
    copied, imaged = written(), written(IMAGE)
    assert copied["file_mounts"]["/home/ubuntu/switchboard"] == "."
    assert {"**/*.db*", "**/switchboard.env"} <= set(copied["rsync_exclude"]), (
        "journals and secrets stay where they are"
    )
    assert copied["rsync_filter"] == [".gitignore"]
    assert "--constraint constraints.txt --editable '.[postgres]'" in copied["setup_commands"][0]
    assert "PYTHONPATH=/home/ubuntu/switchboard " in copied["worker_start_ray_commands"][-1]
    assert imaged["docker"]["image"] == "registry.example/sb:1"
    assert "setup_commands" not in imaged
    assert "PYTHONPATH" not in imaged["worker_start_ray_commands"][-1]
