"""On which node types a replica may land, and why not on the others. Pure functions, no Ray.

Ray's rules: every resource must be there on one node; `accelerator_type` binds whatever selector is used; one of the
selectors must match, and they are tried in their order. Whether many replicas find room at once: `packing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .labels import matches, written
from .nodes import NodeType
from .resources import TierResources


@dataclass(frozen=True, slots=True)
class Place:
    """A node type that can hold a replica. `rank` 0: by its label selector, 1: by the first fallback, and so on."""

    node_type: NodeType
    rank: int


def workers(nodes: Sequence[NodeType]) -> tuple[NodeType, ...]:
    """Those that take replicas."""
    return tuple(node for node in nodes if not node.head)


def places(resources: TierResources, nodes: Sequence[NodeType]) -> tuple[Place, ...]:
    """Node types that can hold a replica, the preferred ones first; within a rank in the order of `nodes`."""
    found = []
    for node in workers(nodes):
        rank = _rank(resources, node)
        if rank is not None and _shortage(resources, node) is None and node.max_nodes > 0:
            found.append(Place(node, rank))
    return tuple(sorted(found, key=lambda place: place.rank))


def refusals(resources: TierResources, nodes: Sequence[NodeType]) -> dict[str, str]:
    """Node type -> the first reason why it cannot hold a replica, for those that cannot."""
    found = {}
    for node in workers(nodes):
        words = _shortage(resources, node)
        if words is None and _rank(resources, node) is None:
            selectors = " or ".join(written(selector) for selector in resources.selectors())
            labels = ", ".join(f"{key}: {value}" for key, value in node.ray_labels().items())
            words = f"has the labels {labels}; wanted: {selectors}"
        if words is None and node.max_nodes == 0:
            words = "has max_nodes 0"
        if words is not None:
            found[node.name] = words
    return found


def dead_selectors(resources: TierResources, nodes: Sequence[NodeType]) -> tuple[int, ...]:
    """Ranks of the selectors by which no node type can hold a replica, although another selector finds one."""
    alone = [
        resources.model_copy(update={"label_selector": selector, "fallback_selectors": ()})
        for selector in resources.selectors()
    ]
    return tuple(rank for rank, one in enumerate(alone) if not places(one, nodes))


def _rank(resources: TierResources, node: NodeType) -> int | None:
    labels = node.ray_labels()
    return next((rank for rank, selector in enumerate(resources.selectors()) if matches(selector, labels)), None)


def _shortage(resources: TierResources, node: NodeType) -> str | None:
    """What an empty node of this type lacks, labels apart."""
    if resources.accelerator_type not in (None, node.accelerator_type):
        return f"has accelerator_type {node.accelerator_type or 'none'}; wanted: {resources.accelerator_type}"
    if resources.num_gpus > node.num_gpus:
        return f"has {node.num_gpus} GPUs; wanted: {resources.num_gpus:g}"
    if resources.num_cpus > node.num_cpus:
        return f"has {node.num_cpus} CPUs; wanted: {resources.num_cpus:g}"
    if resources.memory_gib is not None and resources.memory_gib > (node.memory_gib or 0):
        has = "says no memory_gib" if node.memory_gib is None else f"has {node.memory_gib:g} GiB of memory"
        return f"{has}; wanted: {resources.memory_gib:g}"
    for name, amount in resources.custom.items():
        if amount > node.custom.get(name, 0):
            return f"has {node.custom.get(name, 0)} of {name}; wanted: {amount:g}"
    return None
