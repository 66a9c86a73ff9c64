"""A cluster file for `ray up`: machines of a cloud, one node type each; the applications follow by `serve deploy`.

Its schema is `ray-schema.json` of the installed Ray. The dashboard listens on the head's loopback only (`ray dashboard`
tunnels to it), every node asks for the token, and what is secret is a file beside this one that is copied, not written
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.nodes import NodeType

ENVIRONMENT_FILE = "switchboard.env"
TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - where Ray keeps its own
_IDLE_MINUTES = 5
_GCS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Machines:
    """Where the machines come from, and what they run. `provider` as Ray wants it: {"type": "aws", "region": ...}."""

    provider: Mapping[str, Any]
    name: str = "switchboard"
    ssh_user: str = "ubuntu"
    image: str | None = None  # of a container with this tree; None: the tree is copied and installed
    extras: str = "postgres"  # of the installation


def ray_up(machines: Machines, nodes: Sequence[NodeType]) -> dict[str, Any]:
    """The file as a dict. One of `nodes` is the head; each has its `node_config`."""
    (head,) = (node for node in nodes if node.head)
    home = f"/home/{machines.ssh_user}"
    tree = f"{home}/switchboard"
    written: dict[str, Any] = {
        "cluster_name": machines.name,
        "provider": dict(machines.provider),
        "auth": {"ssh_user": machines.ssh_user},
        "max_workers": sum(node.max_nodes for node in nodes if not node.head),
        "idle_timeout_minutes": _IDLE_MINUTES,
        "head_node_type": head.name,
        "available_node_types": {node.name: _node_type(node) for node in nodes},
        "file_mounts": {
            f"{home}/.ray/auth_token": TOKEN_FILE,
            f"{home}/{ENVIRONMENT_FILE}": ENVIRONMENT_FILE,
        },
    }
    environment = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={home}/.ray/auth_token"
    if machines.image is not None:
        written["docker"] = {"image": machines.image, "container_name": "switchboard"}
    else:
        environment += f" PYTHONPATH={tree}"
        written["file_mounts"][tree] = "."
        written["rsync_exclude"] = ["**/.git", "**/.venv", "**/runs", "**/*.db*", "**/" + ENVIRONMENT_FILE]
        written["rsync_filter"] = [".gitignore"]
        install = f"python3 -m pip install --quiet --constraint constraints.txt --editable '.[{machines.extras}]'"
        written["setup_commands"] = [f"cd {tree} && {install}"]
    start = f"set -a; . {home}/{ENVIRONMENT_FILE}; set +a; ulimit -n 65536; {environment} ray start"
    written["head_start_ray_commands"] = [
        "ray stop",
        f"{start} --head --num-cpus=0 --port={_GCS_PORT} --dashboard-host=127.0.0.1 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ]
    written["worker_start_ray_commands"] = ["ray stop", f"{start} --address=$RAY_HEAD_IP:{_GCS_PORT}"]
    return written


def _node_type(node: NodeType) -> dict[str, Any]:
    counts = {} if node.head else {"min_workers": node.min_nodes, "max_workers": node.max_nodes}
    return {
        "resources": node.ray_resources(),
        "labels": node.ray_labels(),
        **counts,
        "node_config": dict(node.node_config),
    }
