"""A catalogue with node types: what finds no room on them is refused, with the line to change."""

from __future__ import annotations

import pytest

from serve.catalogue import load_catalogue, parse_catalogue
from serve.catalogue_errors import CatalogueError
from tests.serve.cluster_catalogue import CLUSTER


def problems(old: str, new: str) -> tuple[str, ...]:
    assert CLUSTER.count(old) == 1, f"{old!r} is not once in the example"
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(CLUSTER.replace(old, new), "tiers.yaml")
    return caught.value.problems


def test_a_catalogue_without_nodes_is_as_before() -> None:
    catalogue = load_catalogue()
    assert catalogue.nodes == ()
    parse_catalogue(CLUSTER[: CLUSTER.index("nodes:")] + CLUSTER[CLUSTER.index("tiers:") :], "tiers.yaml")


def test_a_catalogue_with_nodes_knows_what_runs_and_on_what() -> None:
    catalogue = parse_catalogue(CLUSTER, "tiers.yaml")
    assert [node.name for node in catalogue.nodes] == ["head", "cpu", "l4", "a100"]
    assert [(some.name, some.scaling.max_replicas) for some in catalogue.residents()] == [
        ("gateway", 4),
        ("learner", 1),
        ("scorer", 1),
        ("small", 4),
        ("medium", 3),
        ("large", 1),
    ]


WRONG = [
    (
        19,
        "max_nodes: 4\n",
        "max_node: 4\n",
        "nodes[2].max_node: is no key here; did you mean max_nodes? allowed: name,",
    ),
    (12, "min_nodes: 1, max_nodes: 3", "min_nodes: 4, max_nodes: 3", "nodes[1]: min_nodes 4 is above max_nodes 3"),
    (23, "name: a100", "name: l4", "nodes[3].name: 'l4' is the name of nodes[2] already"),
    (23, "name: a100", "name: A100", "nodes[3].name: should be a name of a-z, 0-9 and - that begins with a letter"),
    (12, "{name: cpu,", "{name: cpu, head: true,", "nodes[1]: there is one head: leave out min_nodes and max_nodes"),
    (18, ": spot}\n    max", ": '!spot'}\n    max", "labels.ray.io/market-type: should be a label's value: letters"),
    (18, "labels: {ray.io", "labels: {-ray.io", "nodes[2].labels.-ray.io/market-type: should be a label's name"),
    (41, "in(A10G, A100)", "in(A10G", "should be a label's value, !value, in(a, b) or !in(a, b); given 'in(A10G'"),
    (48, "nvlink: 1}}\n", "nv link: 1}}\n", "custom.nv link: should be a resource's name of letters"),
    (22, 'value: "yes", ', "", "tolerations[0]: a toleration has a value where operator is Equal, and only there"),
    (30, "num_gpus: 0.5, acc", "num_gpus: 1.5, acc", "num_gpus above 1 must be a whole number, given 1.5"),
    (29, "price_usd: 0.001", "price_usd: -0.001", "price_usd: should be greater than or equal to 0; given -0.001"),
    (32, "name: medium", "name: small", "tiers[1].name: 'small' is the name of tiers[0] already"),
    (42, "{max_replicas: 3}", "{min_replicas: 4, max_replicas: 3}", "min_replicas 4 is above max_replicas 3"),
    (
        30,
        "accelerator_type: L4, memory_gib: 4",
        "accelerator_type: L40S",
        "tiers[0].resources: small fits on no node type: cpu has accelerator_type none; wanted: L40S; l4 has "
        "accelerator_type L4; wanted: L40S; a100 has accelerator_type A100; wanted: L40S",
    ),
    (48, "num_gpus: 2, num_cpus: 4", "num_gpus: 3, num_cpus: 4", "a100 has 2 GPUs; wanted: 3"),
    (
        41,
        "in(A10G, A100)",
        "in(A10G, H100)",
        "fallback_selectors[0]: ray.io/accelerator-type: in(A10G, H100) leads to no node type: cpu has 0 GPUs; "
        "wanted: 1; l4 has the labels ray.io/node-group: l4, ",
    ),
    (
        39,
        "{ray.io/accelerator-type: L4, ray",
        "{ray.io/accelerator-type: H100, ray",
        "label_selector: ray.io/accelerator-type: H100, ray.io/market-type: spot leads to no node type",
    ),
    (
        42,
        "num_gpus: 1\n      label",
        "num_gpus: 1\n      accelerator_type: L4\n      label",
        "fallback_selectors[0]: ray.io/accelerator-type: in(A10G, A100) leads to no node type",
    ),
    (
        31,
        "max_replicas: 4}\n  - name: medium",
        "max_replicas: 9}\n  - name: medium",
        "scaling.max_replicas: 9 is more than the nodes hold at their max_nodes: 8, if nothing else ran there",
    ),
    (
        42,
        "{max_replicas: 3}",
        "{max_replicas: 5}",
        "tiers[1].scaling.max_replicas: with everything at its maximum, 1 of 5 replicas find no room on the nodes at "
        "their max_nodes",
    ),
    (
        42,
        "{max_replicas: 3}",
        "{min_replicas: 9, max_replicas: 9}",
        "scaling.min_replicas: 9 is more than the nodes hold",
    ),
    (9, "resources: {num_cpus: 1}}", "resources: {num_cpus: 13}}", "scorer.resources: scorer fits on no node type"),
]


@pytest.mark.parametrize(("line", "old", "new", "said"), WRONG)
def test_what_cannot_work_on_these_nodes_is_refused_with_its_line(line: int, old: str, new: str, said: str) -> None:
    (problem,) = problems(old, new)
    assert problem.startswith(f"tiers.yaml:{line}: ")
    assert said in problem


def test_without_a_node_type_for_replicas_nothing_runs() -> None:
    start, end = CLUSTER.index("  - {name: cpu"), CLUSTER.index("tiers:")
    with pytest.raises(CatalogueError, match=r"tiers\.yaml:10: nodes: has no node type for replicas"):
        parse_catalogue(CLUSTER[:start] + CLUSTER[end:], "tiers.yaml")


def test_a_second_head_is_refused() -> None:
    (problem,) = problems("tiers:", "  - {name: second, head: true, num_cpus: 4}\ntiers:")
    assert "nodes[4].head: is a second head" in problem


def test_a_tier_named_like_the_gateway_is_another_one() -> None:
    text = CLUSTER.replace("name: medium", "name: gateway").replace("{max_replicas: 3}", "{max_replicas: 5}")
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, "tiers.yaml")
    (problem,) = caught.value.problems
    assert "tiers[1].scaling.max_replicas: with everything at its maximum, 1 of 5" in problem


def test_everything_that_has_no_room_is_said_at_once_and_minima_alone_where_they_fail() -> None:
    text = CLUSTER.replace("{max_replicas: 3}", "{min_replicas: 9, max_replicas: 9}")
    text = text.replace("{min_replicas: 0, max_replicas: 1}", "{min_replicas: 3, max_replicas: 50}")
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, "tiers.yaml")
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "tiers[1].scaling.min_replicas",
        "tiers[2].scaling.min_replicas",
    ]
