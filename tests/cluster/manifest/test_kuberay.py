"""A RayService that KubeRay's schema takes, that Ray's autoscaler reads as it was meant, and that keeps its secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

from cluster.manifest.kuberay import Kube, Redis, ray_service
from cluster.manifest.yaml_text import yaml_text
from cluster.nodes import NodeType
from tests.cluster.manifest.unlike_nodes import CPU, HEAD, L4, NODES, SERVE

KUBE = Kube(image="registry.example/switchboard:1", ray_version="2.60.0")
FULL = Kube(
    image="registry.example/switchboard:1",
    ray_version="2.60.0",
    name="images",
    namespace="serving",
    secret="keys",
    token_secret="ray-token",
    operator_namespace="kuberay",
    redis=Redis("redis.serving:6379", "redis-password"),
)
SCHEMA = yaml.safe_load(Path(__file__).with_name("ray_service_schema.yaml").read_text())

_CLUSTER, _WORKER = "rayClusterConfig", ("rayClusterConfig", "workerGroupSpecs", 1)
MISSPELT: list[tuple[str | int, ...]] = [
    ("excludeHeadPodFromServeSvc",),
    (_CLUSTER, "authOptions", "secretName"),
    (_CLUSTER, "gcsFaultToleranceOptions", "redisPassword"),
    (*_WORKER, "maxReplicas"),
    (*_WORKER, "template", "spec", "tolerations"),
    (*_WORKER, "template", "spec", "containers", 0, "lifecycle", "preStop"),
]


def written(kube: Kube = KUBE, nodes: tuple[NodeType, ...] = NODES) -> tuple[dict[str, Any], dict[str, Any]]:
    """As an operator has it: RayService and NetworkPolicy, written as YAML and read again."""
    service, policy = yaml.safe_load_all(yaml_text(*ray_service(kube, nodes, SERVE)))
    return service, policy


@pytest.mark.parametrize("kube", [KUBE, FULL])
def test_the_fields_are_those_of_ray_io_v1(kube: Kube) -> None:
    jsonschema.validate(written(kube)[0], SCHEMA)


@pytest.mark.slow
@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="needs KUBERAY_CRD, the path of ray.io_rayservices.yaml")
def test_the_whole_crd_takes_it_and_refuses_a_misspelt_key() -> None:
    crd = yaml.load(Path(os.environ["KUBERAY_CRD"]).read_text(), yaml.CSafeLoader)
    (version,) = (one for one in crd["spec"]["versions"] if one["name"] == "v1")
    validator = jsonschema.Draft202012Validator(_closed(version["schema"]["openAPIV3Schema"]))
    validator.validate(written()[0])
    validator.validate(written(FULL)[0])
    for path in MISSPELT:
        with pytest.raises(jsonschema.ValidationError, match=r"were unexpected|was unexpected"):
            validator.validate(misspelt(path))


@pytest.mark.parametrize("path", MISSPELT)
def test_a_misspelt_key_would_be_seen(path: tuple[str | int, ...]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="was unexpected"):
        jsonschema.validate(misspelt(path), SCHEMA)


def misspelt(path: tuple[str | int, ...]) -> dict[str, Any]:
    """The fullest RayService with one letter less in the last key of the path."""
    service = written(FULL)[0]
    *above, key = path
    inner: Any = service["spec"]
    for part in above:
        inner = inner[part]
    inner[str(key)[:-1]] = inner.pop(key)
    return service


def _closed(schema: Any) -> Any:
    """Kubernetes' dialect as JSON Schema that refuses unknown fields, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: _closed(value) for key, value in schema.items()}
    properties = schema.get("properties")
    if isinstance(properties, dict) and schema.get("type") == "object":
        made["properties"] = {name: _closed(value) for name, value in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "metadata" not in properties:
            made["additionalProperties"] = False
        made["required"] = [name for name in schema.get("required", ()) if "default" not in properties.get(name, {})]
    return made


def test_serve_reads_the_config_inside() -> None:
    config = yaml.safe_load(written()[0]["spec"]["serveConfigV2"])
    assert config == SERVE
    read = ServeDeploySchema.model_validate(config)
    assert [one.name for one in read.applications] == ["tier-small", "gateway"]
    assert (read.http_options.host, read.http_options.port) == ("0.0.0.0", 8000)  # noqa: S104


def test_rays_autoscaler_sees_each_node_type_before_it_has_a_pod() -> None:
    """Ray's own reader of the resource, in the head's pod: the accelerator and the labels are no guess."""
    cluster = {"metadata": {"name": "x", "namespace": "y"}, "spec": written()[0]["spec"]["rayClusterConfig"]}
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    for node in (CPU, L4):
        assert types[node.name]["resources"] == node.ray_resources()
        assert types[node.name]["labels"] == node.ray_labels()
        assert (types[node.name]["min_workers"], types[node.name]["max_workers"]) == (node.min_nodes, node.max_nodes)
    assert config["max_workers"] == 7


def test_pods_have_the_size_of_their_node_type_and_go_where_its_gpus_are() -> None:
    cluster = written()[0]["spec"]["rayClusterConfig"]
    head, (cpu, l4) = cluster["headGroupSpec"]["template"], (group["template"] for group in cluster["workerGroupSpecs"])
    assert head["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "16384Mi"}
    assert cpu["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "8", "memory": "32256Mi"}
    assert "tolerations" not in cpu["spec"]
    assert l4["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert l4["spec"]["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert l4["spec"]["tolerations"] == [
        {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]


def test_a_head_is_there_without_being_named() -> None:
    cluster = written(nodes=(CPU,))[0]["spec"]["rayClusterConfig"]
    assert cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2"
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert [group["groupName"] for group in cluster["workerGroupSpecs"]] == ["cpu"]


def test_a_taint_that_is_named_is_not_tolerated_twice() -> None:
    own = HEAD.model_validate(
        {"name": "g", "num_cpus": 1, "num_gpus": 1, "kubernetes": {"tolerations": ({"key": "nvidia.com/gpu"},)}}
    )
    (group,) = written(nodes=(own,))[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert group["template"]["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_secrets_are_named_and_only_the_admin_key_may_be_missing() -> None:
    cluster = written(FULL)[0]["spec"]["rayClusterConfig"]
    variables = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["env"]
    assert variables == cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    assert {one["name"]: one["valueFrom"]["secretKeyRef"] for one in variables} == {
        "SWITCHBOARD_JOURNAL_URL": {"name": "keys", "key": "journal-url"},
        "SWITCHBOARD_SALT": {"name": "keys", "key": "salt"},
        "SWITCHBOARD_ADMIN_KEY": {"name": "keys", "key": "admin-key", "optional": True},
    }
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert cluster["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis.serving:6379",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "redis-password", "key": "password"}}},
    }


def test_without_redis_the_head_keeps_its_state_to_itself_and_the_token_is_kuberays() -> None:
    cluster = written()[0]["spec"]["rayClusterConfig"]
    assert "gcsFaultToleranceOptions" not in cluster
    assert cluster["authOptions"] == {"mode": "token"}


def test_only_the_gateways_port_is_open_to_others() -> None:
    service, policy = written(FULL)
    label = {"matchLabels": {"switchboard/service": "images"}}
    assert (policy["metadata"], policy["spec"]["podSelector"]) == ({"name": "images", "namespace": "serving"}, label)
    own, anybody, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": label}]}
    assert anybody == {"ports": [{"protocol": "TCP", "port": 8000}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    (who,) = operator["from"]
    assert who["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kuberay"}}
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert service["spec"]["excludeHeadPodFromServeSvc"] is True
    for group in (head, *service["spec"]["rayClusterConfig"]["workerGroupSpecs"]):
        assert group["template"]["metadata"]["labels"] == {"switchboard/service": "images"}
