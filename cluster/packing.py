"""Whether all replicas that are allowed find room on the nodes that are allowed. Pure functions, no Ray.

    room(resources, nodes)      how many replicas the nodes hold that have nothing else to do
    unplaced(claims, nodes)     what finds no room where all of them run at once

A fraction of a GPU is taken from one GPU, several GPUs must be whole, as Ray does it. Packing is hard in general: some
ways of filling are tried, and if one of them succeeds there is room. They may all miss a packing that exists; and Ray
places replicas in the order in which they come and moves none, so it may fail where there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from .nodes import NodeType
from .placement import places, workers
from .resources import TierResources

MOST_PER_NODE = 10_000  # replicas that take nothing fit without end
_UNITS = 10_000  # Ray counts in ten-thousandths
_GIB = 2**30
_SHUFFLES = 40  # further orders, where the clever ones leave something over


@dataclass(frozen=True, slots=True)
class Claim:
    """What wants room: `count` replicas that each take `resources`."""

    name: str
    resources: TierResources
    count: int


def room(resources: TierResources, nodes: Sequence[NodeType]) -> int:
    """Replicas that fit on all nodes at their maximum, if nothing else ran there. At most MOST_PER_NODE a node."""
    return sum(
        place.node_type.max_nodes * _fitting(_fresh(place.node_type), _need(resources, place.node_type))
        for place in places(resources, nodes)
    )


def unplaced(claims: Sequence[Claim], nodes: Sequence[NodeType]) -> dict[str, int]:
    """Claim -> how many of its replicas find no room where all claims run at once on all nodes at their maximum.

    Empty: there is room. The best of several ways of filling, so the numbers are what that way leaves over.
    """
    jobs = [_job(claim, nodes) for claim in claims]
    best: dict[str, int] | None = None
    for order, by_rank, snug in _ways(jobs):
        left = _fill(order, nodes, by_rank=by_rank, snug=snug)
        if not left:
            return {}
        if best is None or sum(left.values()) < sum(best.values()):
            best = left
        if _hopeless(jobs, nodes):
            break
    return best or {}


@dataclass(frozen=True, slots=True)
class _Need:
    """What a replica takes of a node of one type, in Ray's units, bytes of memory."""

    cpu: int
    whole_gpus: int
    gpu_share: int  # of one GPU
    memory: int
    custom: tuple[int, ...]  # in the order of the node type's


@dataclass(frozen=True, slots=True)
class _Free:
    """What is left of one node."""

    node: str
    cpu: int
    gpus: tuple[int, ...]  # of each GPU, ascending
    memory: int
    custom: tuple[int, ...]


def _need(resources: TierResources, node: NodeType) -> _Need:
    gpus = resources.num_gpus
    return _Need(
        cpu=_units(resources.num_cpus),
        whole_gpus=int(gpus) if gpus >= 1 else 0,
        gpu_share=_units(gpus) if gpus < 1 else 0,
        memory=int((resources.memory_gib or 0) * _GIB),
        custom=tuple(_units(resources.custom.get(name, 0)) for name in node.custom),
    )


def _fresh(node: NodeType) -> _Free:
    return _Free(
        node=node.name,
        cpu=_units(node.num_cpus),
        gpus=(_UNITS,) * node.num_gpus,
        memory=int((node.memory_gib or 0) * _GIB),
        custom=tuple(_units(amount) for amount in node.custom.values()),
    )


def _units(amount: float) -> int:
    return round(amount * _UNITS)


def _take(free: _Free, need: _Need) -> _Free | None:
    """What a replica leaves of a node; None: it does not fit."""
    if free.cpu < need.cpu or free.memory < need.memory:
        return None
    custom = tuple(left - taken for left, taken in zip(free.custom, need.custom, strict=True))
    if any(left < 0 for left in custom):
        return None
    gpus = list(free.gpus)
    if need.whole_gpus:
        if gpus.count(_UNITS) < need.whole_gpus:
            return None
        gpus[len(gpus) - need.whole_gpus :] = [0] * need.whole_gpus
    elif need.gpu_share:
        position = next((i for i, left in enumerate(gpus) if left >= need.gpu_share), None)
        if position is None:
            return None
        gpus[position] -= need.gpu_share
    return replace(
        free, cpu=free.cpu - need.cpu, gpus=tuple(sorted(gpus)), memory=free.memory - need.memory, custom=custom
    )


def _fitting(free: _Free, need: _Need) -> int:
    count = 0
    left = _take(free, need)
    while left is not None and count < MOST_PER_NODE:
        count, left = count + 1, _take(left, need)
    return count


@dataclass(frozen=True, slots=True)
class _Job:
    """A claim with what depends on the nodes, by node type where it may run."""

    claim: Claim
    rank: Mapping[str, int]
    need: Mapping[str, _Need]
    largest_share: float  # of a node, of what it takes most of


def _job(claim: Claim, nodes: Sequence[NodeType]) -> _Job:
    resources = claim.resources
    found = places(resources, nodes)
    shares = [0.0]
    for node in (place.node_type for place in found):
        shares.append(resources.num_cpus / node.num_cpus)
        shares.append(resources.num_gpus / max(1, node.num_gpus))
        shares.append((resources.memory_gib or 0.0) / (node.memory_gib or 1.0))
    return _Job(
        claim,
        {place.node_type.name: place.rank for place in found},
        {place.node_type.name: _need(resources, place.node_type) for place in found},
        max(shares),
    )


def _ways(jobs: Sequence[_Job]) -> Iterator[tuple[Sequence[_Job], bool, bool]]:
    """Orders of the claims, whether preferred node types are filled first, whether the fullest nodes are."""
    scarce = sorted(jobs, key=lambda job: (len(job.rank), -job.largest_share))
    large = sorted(jobs, key=lambda job: (-job.largest_share, len(job.rank)))
    for by_rank, snug in ((True, True), (False, True), (False, False)):
        yield scarce, by_rank, snug
        yield large, by_rank, snug
    rng = Random(0)  # the same file gets the same answer
    for number in range(_SHUFFLES):
        yield rng.sample(scarce, len(scarce)), False, number % 2 == 0


def _hopeless(jobs: Sequence[_Job], nodes: Sequence[NodeType]) -> bool:
    """Do they take more than all nodes have together? Then no other order helps."""
    asked = [(job.claim.resources, job.claim.count) for job in jobs]
    there = workers(nodes)
    return (
        sum(count * one.num_cpus for one, count in asked) > sum(node.max_nodes * node.num_cpus for node in there)
        or sum(count * one.num_gpus for one, count in asked) > sum(node.max_nodes * node.num_gpus for node in there)
        or any(not job.rank for job in jobs)
    )


def _fill(jobs: Sequence[_Job], nodes: Sequence[NodeType], *, by_rank: bool, snug: bool) -> dict[str, int]:
    """Claims in this order. What is left over."""
    size = {node.name: _fresh(node) for node in workers(nodes)}
    free = Counter({size[node.name]: node.max_nodes for node in workers(nodes)})
    left = {}
    for job in jobs:
        spares_gpus = job.claim.resources.num_gpus == 0  # Ray too keeps GPU nodes for those that need them

        def worth(node: _Free, job: _Job = job, spares_gpus: bool = spares_gpus) -> tuple[int, bool, float]:
            share = _share_left(node, size[node.node])
            return job.rank[node.node] if by_rank else 0, spares_gpus and bool(node.gpus), share if snug else -share

        if missing := _fill_one(job, sorted((node for node in free if node.node in job.need), key=worth), free):
            left[job.claim.name] = missing
    return left


def _fill_one(job: _Job, candidates: Sequence[_Free], free: Counter[_Free]) -> int:
    """Takes room from `free`, candidate by candidate; how many replicas are left over."""
    missing = job.claim.count
    for node in candidates:
        need = job.need[node.node]
        each = _fitting(node, need) if missing else 0
        while missing and each and free[node]:
            full_nodes = min(free[node], missing // each)
            on_each, changed = (each, full_nodes) if full_nodes else (missing, 1)
            after = node
            for _ in range(on_each):
                step = _take(after, need)
                assert step is not None, "as many were counted"
                after = step
            free[node] -= changed
            free[after] += changed
            missing -= changed * on_each
    return missing


def _share_left(node: _Free, size: _Free) -> float:
    """How much of a node is free, summed over what it gives."""
    gpus = sum(node.gpus) / _UNITS / len(size.gpus) if size.gpus else 0.0
    return node.cpu / size.cpu + gpus + (node.memory / size.memory if size.memory else 0.0)
