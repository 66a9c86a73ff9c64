"""Where a replica may land, in which order, and why not elsewhere."""

import pytest

from cluster.nodes import NodeType
from cluster.placement import dead_selectors, places, refusals
from cluster.resources import TierResources

ACCELERATOR = "ray.io/accelerator-type"
HEAD = NodeType(name="head", head=True, num_cpus=64, memory_gib=256.0)
CPU = NodeType(name="cpu", num_cpus=16, memory_gib=64.0)
L4 = NodeType(
    name="l4",
    num_cpus=8,
    num_gpus=1,
    accelerator_type="L4",
    memory_gib=32.0,
    labels={"ray.io/market-type": "spot"},
    max_nodes=4,
)
A100 = NodeType(name="a100", num_cpus=12, num_gpus=8, accelerator_type="A100", custom={"nvlink": 1}, max_nodes=2)
NODES = (HEAD, CPU, A100, L4)


def names(resources: TierResources) -> list[tuple[str, int]]:
    return [(place.node_type.name, place.rank) for place in places(resources, NODES)]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (TierResources(), [("cpu", 0), ("a100", 0), ("l4", 0)]),
        (TierResources(num_cpus=0.1, num_gpus=0.5), [("a100", 0), ("l4", 0)]),
        (TierResources(num_gpus=2.0), [("a100", 0)]),
        (TierResources(num_cpus=16.0), [("cpu", 0)]),
        (TierResources(num_cpus=20.0), []),
        (TierResources(num_gpus=1.0, accelerator_type="L4"), [("l4", 0)]),
        (TierResources(accelerator_type="H100"), []),
        (TierResources(memory_gib=48.0), [("cpu", 0)]),
        (TierResources(memory_gib=32.0), [("cpu", 0), ("l4", 0)]),
        (TierResources(custom={"nvlink": 0.5}), [("a100", 0)]),
        (TierResources(custom={"nvlink": 2.0}), []),
        (TierResources(label_selector={ACCELERATOR: "in(L4, A100)"}), [("a100", 0), ("l4", 0)]),
        (TierResources(label_selector={ACCELERATOR: "!L4"}), [("cpu", 0), ("a100", 0)]),
        (TierResources(label_selector={"ray.io/node-group": "cpu"}), [("cpu", 0)]),
        (
            TierResources(label_selector={ACCELERATOR: "L4"}, fallback_selectors=({ACCELERATOR: "A100"},)),
            [("l4", 0), ("a100", 1)],
        ),
        (
            TierResources(
                label_selector={ACCELERATOR: "H100"},
                fallback_selectors=({"ray.io/market-type": "spot"}, {ACCELERATOR: "!H100"}),
            ),
            [("l4", 1), ("cpu", 2), ("a100", 2)],
        ),
        (
            TierResources(
                num_gpus=1.0,
                accelerator_type="L4",
                label_selector={ACCELERATOR: "L4"},
                fallback_selectors=({ACCELERATOR: "A100"},),
            ),
            [("l4", 0)],
        ),
    ],
)
def test_a_replica_may_land_where_all_it_takes_is_there(
    resources: TierResources, expected: list[tuple[str, int]]
) -> None:
    assert names(resources) == expected


def test_the_others_say_what_they_lack() -> None:
    asked = TierResources(num_gpus=1.0, memory_gib=40.0, label_selector={ACCELERATOR: "A100"})
    assert refusals(asked, NODES) == {
        "cpu": "has 0 GPUs; wanted: 1",
        "a100": "says no memory_gib; wanted: 40",
        "l4": "has 32 GiB of memory; wanted: 40",
    }
    assert refusals(TierResources(accelerator_type="H100"), (CPU, L4)) == {
        "cpu": "has accelerator_type none; wanted: H100",
        "l4": "has accelerator_type L4; wanted: H100",
    }
    assert refusals(TierResources(label_selector={"zone": "b"}, fallback_selectors=({"zone": "c"},)), (CPU,)) == {
        "cpu": "has the labels ray.io/node-group: cpu; wanted: zone: b or zone: c"
    }
    assert refusals(TierResources(num_cpus=9.0, custom={"nvlink": 2.0}), (A100, L4)) == {
        "a100": "has 1 of nvlink; wanted: 2",
        "l4": "has 8 CPUs; wanted: 9",
    }


def test_node_types_that_may_have_no_node_hold_nothing() -> None:
    none = NodeType(name="none", num_cpus=64, max_nodes=0)
    assert places(TierResources(), (none,)) == ()
    assert refusals(TierResources(), (none,)) == {"none": "has max_nodes 0"}


def test_selectors_that_lead_nowhere_are_named_by_rank() -> None:
    asked = TierResources(
        label_selector={ACCELERATOR: "L4"}, fallback_selectors=({ACCELERATOR: "H100"}, {ACCELERATOR: "A100"})
    )
    assert dead_selectors(asked, NODES) == (1,)
    assert dead_selectors(asked.model_copy(update={"accelerator_type": "L4"}), NODES) == (1, 2)
    assert dead_selectors(TierResources(), NODES) == ()
