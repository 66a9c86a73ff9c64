"""Node types as values, and what Ray is told of them."""

import pytest
from pydantic import ValidationError

from cluster.nodes import NodeType, Toleration

L4 = NodeType(
    name="l4",
    num_cpus=8,
    num_gpus=2,
    accelerator_type="L4",
    memory_gib=32.0,
    custom={"bundle": 3},
    labels={"ray.io/market-type": "spot"},
    max_nodes=4,
)


def test_ray_is_told_all_that_a_node_gives_and_its_labels() -> None:
    assert L4.ray_resources() == {
        "CPU": 8,
        "GPU": 2,
        "memory": 34359738368,
        "accelerator_type:L4": 1,
        "bundle": 3,
    }
    assert L4.ray_labels() == {
        "ray.io/node-group": "l4",
        "ray.io/accelerator-type": "L4",
        "ray.io/market-type": "spot",
    }


def test_a_plain_node_has_cpus_and_the_label_of_its_group() -> None:
    plain = NodeType(name="cpu", num_cpus=16)
    assert plain.ray_resources() == {"CPU": 16}
    assert plain.ray_labels() == {"ray.io/node-group": "cpu"}
    assert (plain.min_nodes, plain.max_nodes) == (0, 1)


def test_the_head_gives_replicas_nothing() -> None:
    assert NodeType(name="head", head=True, num_cpus=4, memory_gib=8.0).ray_resources() == {"CPU": 0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_nodes": 3, "max_nodes": 2}, "min_nodes 3 is above max_nodes 2"),
        ({"accelerator_type": "L4"}, "accelerator_type L4 without a GPU"),
        ({"head": True, "max_nodes": 2}, "there is one head"),
        ({"head": True, "num_gpus": 1}, "the head takes no replica"),
        (
            {"num_gpus": 1, "accelerator_type": "L4", "labels": {"ray.io/accelerator-type": "A100"}},
            "labels say ray.io/accelerator-type A100, accelerator_type L4",
        ),
        ({"name": "L4"}, "name"),
        ({"name": "l4-"}, "name"),
        ({"num_cpus": 0}, "num_cpus"),
        ({"num_cpus": 1.5}, "num_cpus"),
        ({"num_gpus": 0.5}, "num_gpus"),
        ({"memory_gib": 0.0}, "memory_gib"),
        ({"custom": {"bundle": 0.5}}, "custom"),
        ({"labels": {"zone": "!b"}}, "labels"),
        ({"nodes": 3}, "nodes"),
    ],
)
def test_node_types_refuse_what_cannot_be(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NodeType.model_validate({"name": "some", "num_cpus": 4} | fields)


@pytest.mark.parametrize("fields", [{"operator": "Equal"}, {"value": "yes"}, {"effect": "Never"}, {"key": ""}])
def test_tolerations_refuse_what_kubernetes_refuses(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Toleration.model_validate({"key": "gpu"} | fields)
