"""A RayService of KubeRay (ray.io/v1, KubeRay 1.6 or newer): one worker group per node type, everything private.

- The head takes no replica and no traffic; the dashboard has a ClusterIP, a token (Ray's token authentication), and a
  NetworkPolicy that lets only the operator and the cluster's own pods near it.
- What is secret is named, never written: pods read it from Secrets.
- Changing `serveConfigV2` changes applications in place; anything else makes KubeRay start a second cluster beside the
  first and move the traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.nodes import NodeType

from .yaml_text import yaml_text

SERVE_PORT = 8000
_DASHBOARD_PORT = 8265
_MIB_PER_GIB = 1024
_SERVICE_LABEL = "switchboard/service"  # KubeRay names clusters anew at each upgrade; this stays
_IDLE_S = 300
_GPU = "nvidia.com/gpu"
_DEFAULT_HEAD = NodeType(name="head", head=True, num_cpus=2, memory_gib=8.0)

# Key of the Secret -> variable of the pods. Only the admin key may be missing.
_VARIABLES = {
    "journal-url": "SWITCHBOARD_JOURNAL_URL",
    "salt": "SWITCHBOARD_SALT",
    "admin-key": "SWITCHBOARD_ADMIN_KEY",
}
_OPTIONAL = frozenset({"admin-key"})


@dataclass(frozen=True, slots=True)
class Redis:
    """Where the head keeps its state, so that it outlives its pod. The Secret's key is `password`."""

    address: str  # host:port
    secret: str | None = None  # None: without a password


@dataclass(frozen=True, slots=True)
class Kube:
    """Names of what is there already, and of what is made."""

    image: str  # with this tree, its packages and this version of Ray
    ray_version: str
    name: str = "switchboard"
    namespace: str = "default"
    secret: str = "switchboard"  # noqa: S105 - a Secret's name; its keys: journal-url, salt, admin-key
    token_secret: str | None = None  # with the key auth_token; None: KubeRay makes one per cluster
    operator_namespace: str | None = None  # None: the operator is known by its pods' label alone
    redis: Redis | None = None


def ray_service(kube: Kube, nodes: Sequence[NodeType], serve_config: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The RayService and its NetworkPolicy. Every node type needs `memory_gib`; a head is added where there is none."""
    head = next((node for node in nodes if node.head), _DEFAULT_HEAD)
    authentication: dict[str, Any] = {"mode": "token"}
    if kube.token_secret is not None:
        authentication["secretName"] = kube.token_secret
    cluster: dict[str, Any] = {"rayVersion": kube.ray_version, "authOptions": authentication}
    if kube.redis is not None:
        cluster["gcsFaultToleranceOptions"] = _redis(kube.redis)
    cluster |= {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": _IDLE_S},  # v2 knows label selectors
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "enableIngress": False,
            "rayStartParams": {"num-cpus": "0"},
            "template": _template(kube, head, "ray-head"),
        },
        "workerGroupSpecs": [_worker_group(kube, node) for node in nodes if not node.head],
    }
    service = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": kube.name, "namespace": kube.namespace},
        "spec": {
            "excludeHeadPodFromServeSvc": True,
            "serveConfigV2": yaml_text(serve_config),
            "rayClusterConfig": cluster,
        },
    }
    return service, _network_policy(kube)


def _worker_group(kube: Kube, node: NodeType) -> dict[str, Any]:
    resources = node.ray_resources()
    return {
        "groupName": node.name,
        "replicas": node.min_nodes,
        "minReplicas": node.min_nodes,
        "maxReplicas": node.max_nodes,
        "rayStartParams": {},
        # Without these two the autoscaler would not know of a group without a pod what its nodes give.
        "resources": {name: str(amount) for name, amount in resources.items()},
        "labels": node.ray_labels(),
        "template": _template(kube, node, "ray-worker"),
    }


def _template(kube: Kube, node: NodeType, container: str) -> dict[str, Any]:
    taken: dict[str, str] = {"cpu": str(node.num_cpus)}
    if node.memory_gib is not None:
        taken["memory"] = f"{int(node.memory_gib * _MIB_PER_GIB)}Mi"
    if node.num_gpus:
        taken[_GPU] = str(node.num_gpus)
    spec: dict[str, Any] = {
        "containers": [
            {
                "name": container,
                "image": kube.image,
                "env": [_variable(kube, key) for key in _VARIABLES],
                "resources": {"requests": taken, "limits": taken},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "ray stop"]}}},
            }
        ]
    }
    if node.kubernetes.node_selector:
        spec["nodeSelector"] = dict(node.kubernetes.node_selector)
    tolerations = [one.model_dump(exclude_none=True) for one in node.kubernetes.tolerations]
    if node.num_gpus and not any(one["key"] == _GPU for one in tolerations):
        tolerations.append({"key": _GPU, "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        spec["tolerations"] = tolerations
    return {"metadata": {"labels": {_SERVICE_LABEL: kube.name}}, "spec": spec}


def _variable(kube: Kube, key: str) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": kube.secret, "key": key}
    if key in _OPTIONAL:
        reference["optional"] = True
    return {"name": _VARIABLES[key], "valueFrom": {"secretKeyRef": reference}}


def _redis(redis: Redis) -> dict[str, Any]:
    options: dict[str, Any] = {"redisAddress": redis.address}
    if redis.secret is not None:
        reference = {"name": redis.secret, "key": "password"}
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": reference}}
    return options


def _network_policy(kube: Kube) -> dict[str, Any]:
    """Who may reach the pods: they one another, anybody the gateway's port, the operator the dashboard's."""
    operator: dict[str, Any] = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    if kube.operator_namespace is not None:
        operator["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": kube.operator_namespace}}
    own = {"matchLabels": {_SERVICE_LABEL: kube.name}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": kube.name, "namespace": kube.namespace},
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": own}]},
                {"ports": [{"protocol": "TCP", "port": SERVE_PORT}]},
                {"from": [operator], "ports": [{"protocol": "TCP", "port": _DASHBOARD_PORT}]},
            ],
        },
    }
