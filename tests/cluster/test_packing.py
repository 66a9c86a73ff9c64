"""Room for one tier alone, and for all at once."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from cluster.nodes import NodeType
from cluster.packing import MOST_PER_NODE, Claim, room, unplaced
from cluster.resources import TierResources

ACCELERATOR = "ray.io/accelerator-type"
CPU = NodeType(name="cpu", num_cpus=16, memory_gib=64.0, max_nodes=2)
L4 = NodeType(name="l4", num_cpus=8, num_gpus=1, accelerator_type="L4", memory_gib=32.0, max_nodes=4)
PAIR = NodeType(name="pair", num_cpus=8, num_gpus=2, accelerator_type="A100", max_nodes=1)


def claim(name: str, count: int, **resources: object) -> Claim:
    return Claim(name, TierResources.model_validate(resources), count)


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        ({"num_cpus": 3.0}, (CPU,), 10),  # 5 a node: a remainder of one node is of no use to another
        ({"num_cpus": 0.1}, (CPU,), 320),
        ({"num_cpus": 1.0, "memory_gib": 10.0}, (CPU,), 12),
        ({"num_cpus": 0.0, "num_gpus": 0.5}, (L4, CPU), 8),
        ({"num_cpus": 0.0, "num_gpus": 0.6}, (PAIR,), 2),  # not 3: a fraction comes from one GPU
        ({"num_cpus": 0.0, "num_gpus": 0.3}, (PAIR,), 6),
        ({"num_cpus": 0.0, "num_gpus": 2.0}, (PAIR, L4), 1),
        ({"num_cpus": 0.0, "num_gpus": 2.0}, (L4,), 0),
        ({"num_cpus": 0.0}, (CPU,), 2 * MOST_PER_NODE),
        ({"num_cpus": 0.3}, (NodeType(name="three", num_cpus=3),), 10),  # in floating point 3 / 0.3 may lose one
    ],
)
def test_room_for_a_tier_that_is_alone(
    resources: dict[str, object], nodes: tuple[NodeType, ...], expected: int
) -> None:
    assert room(TierResources.model_validate(resources), nodes) == expected


def test_everything_has_room_when_the_sums_fit_node_by_node() -> None:
    claims = [claim("a", 8, num_cpus=3.0, num_gpus=0.5), claim("b", 2, num_cpus=16.0)]
    assert unplaced(claims, (CPU, L4)) == {}


def test_what_has_no_room_is_counted() -> None:
    assert unplaced([claim("a", 9, num_gpus=0.5, num_cpus=0.0)], (L4, CPU)) == {"a": 1}
    assert unplaced([claim("a", 3, num_cpus=20.0)], (L4, CPU)) == {"a": 3}


def test_a_whole_gpu_needs_one_that_nobody_shares() -> None:
    share = claim("share", 1, num_cpus=0.0, num_gpus=0.1)
    whole = claim("whole", 2, num_cpus=0.0, num_gpus=1.0)
    assert sum(unplaced([share, whole], (PAIR,)).values()) == 1
    assert unplaced([share, claim("whole", 1, num_cpus=0.0, num_gpus=1.0)], (PAIR,)) == {}


def test_a_whole_gpu_is_not_put_together_from_what_shares_leave() -> None:
    three = NodeType(name="three", num_cpus=8, num_gpus=3)
    shares = claim("shares", 3, num_cpus=0.0, num_gpus=0.6)  # leave 0.4 of each GPU, 1.2 in all
    assert unplaced([claim("whole", 1, num_cpus=0.0, num_gpus=1.0), shares], (three,)) != {}


def test_where_the_clever_orders_fail_others_are_tried() -> None:
    """Largest first leaves a hole of 1 in each node; 3 + 2 and 2 + 2 + 4 fill them."""
    nodes = (NodeType(name="five", num_cpus=5), NodeType(name="eight", num_cpus=8))
    claims = [claim(str(index), 1, num_cpus=size) for index, size in enumerate((3.0, 2.0, 2.0, 2.0, 4.0))]
    assert unplaced(claims, nodes) == {}


def test_tiers_that_may_run_on_one_type_only_are_placed_first() -> None:
    """The flexible one comes first in the file, and would take all L4 nodes if it were placed first."""
    flexible = claim(
        "flexible",
        2,
        num_gpus=1.0,
        label_selector={ACCELERATOR: "L4"},
        fallback_selectors=({ACCELERATOR: "A100"},),
    )
    bound = claim("bound", 4, num_gpus=1.0, accelerator_type="L4")
    assert unplaced([flexible, bound], (L4, PAIR)) == {}


def test_cpu_work_leaves_gpu_nodes_to_those_that_need_them() -> None:
    small = NodeType(name="gpu", num_cpus=2, num_gpus=1, max_nodes=1)
    plain = NodeType(name="cpu", num_cpus=2, max_nodes=1)
    assert unplaced([claim("cpu", 2), claim("gpu", 1, num_cpus=2.0, num_gpus=1.0)], (small, plain)) == {}


def test_a_packing_is_found_wherever_brute_force_finds_one() -> None:
    """And never where there is none. Small cases: in large ones some may be missed."""
    rng = Random(5)
    found = 0
    for _ in range(150):
        nodes = tuple(
            NodeType(name=f"n{index}", num_cpus=rng.randint(2, 6), num_gpus=rng.choice([0, 1, 2]), max_nodes=1)
            for index in range(2)
        )
        claims = [
            claim(str(index), 1, num_cpus=float(rng.randint(1, 3)), num_gpus=rng.choice([0.0, 0.0, 0.5, 1.0]))
            for index in range(4)
        ]
        exists = any(_fits(ways, claims, nodes) for ways in itertools.product(range(2), repeat=len(claims)))
        assert exists == (not unplaced(claims, nodes))
        found += exists
    assert found > 40


def _fits(ways: tuple[int, ...], claims: list[Claim], nodes: tuple[NodeType, ...]) -> bool:
    """Whether each node holds those that are given to it; GPUs by whole ones first, then pairs of halves."""
    for index, node in enumerate(nodes):
        here = [one.resources for one, way in zip(claims, ways, strict=True) if way == index]
        halves = sum(one.num_gpus == 0.5 for one in here)
        gpus = sum(int(one.num_gpus) for one in here) + (halves + 1) // 2
        if sum(one.num_cpus for one in here) > node.num_cpus or gpus > node.num_gpus:
            return False
    return True


def test_a_large_cluster_is_judged_in_passing() -> None:
    nodes = tuple(NodeType(name=f"t{index}", num_cpus=32, num_gpus=8, max_nodes=10_000) for index in range(10))
    claims = [claim(str(index), 10_000, num_cpus=0.5 + index / 10, num_gpus=0.3) for index in range(20)]
    assert unplaced(claims, nodes) == {}
