"""What a catalogue's tiers ask of its node types: whether each finds one, and all of them room.

Only where node types are given. The problems name the key that an operator would change first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.labels import written
from cluster.nodes import NodeType
from cluster.packing import Claim, room, unplaced
from cluster.placement import dead_selectors, places, refusals, workers
from cluster.resources import ScalingLimits, TierResources

from .yaml_source import Path
from .yaml_source import written as written_path

Problem = tuple[Path, str]
LEARNER_PATH: Path = ("learning",)


@dataclass(frozen=True, slots=True)
class Residents:
    """The replicas of one application: a tier, the gateway, the learner or the scorer."""

    name: str
    path: Path  # in the catalogue
    resources: TierResources
    scaling: ScalingLimits

    def claim(self, count: int) -> Claim:
        """So many of them. By path, as a tier may be named like the gateway."""
        return Claim(written_path(self.path), self.resources, count)


def node_problems(nodes: Sequence[NodeType], residents: Sequence[Residents]) -> Iterator[Problem]:
    """Whatever keeps replicas from finding room on these nodes, with its path in the catalogue."""
    names = [node.name for node in nodes]
    for index, node in enumerate(nodes):
        if node.name in names[:index]:
            yield (
                ("nodes", index, "name"),
                f"{node.name!r} is the name of nodes[{names.index(node.name)}] already",
            )
        if node.head and any(other.head for other in nodes[:index]):
            yield ("nodes", index, "head"), "is a second head; a cluster has one"
    if len(set(names)) < len(names):
        return
    if not workers(nodes):
        yield ("nodes",), "has no node type for replicas; add one without head: true"
        return
    homeless = [problem for some in residents for problem in _placement_problems(some, nodes)]
    yield from homeless or _room_problems(residents, nodes)


def _placement_problems(some: Residents, nodes: Sequence[NodeType]) -> Iterator[Problem]:
    path = (*some.path, "resources")
    if not places(some.resources, nodes):
        yield path, f"{some.name} fits on no node type: {_why(some.resources, nodes)}"
        return
    for rank in dead_selectors(some.resources, nodes):
        selector = some.resources.selectors()[rank]
        alone = some.resources.model_copy(update={"label_selector": selector, "fallback_selectors": ()})
        key: Path = ("label_selector",) if rank == 0 else ("fallback_selectors", rank - 1)
        yield (*path, *key), f"{written(selector)} leads to no node type: {_why(alone, nodes)}"


def _room_problems(residents: Sequence[Residents], nodes: Sequence[NodeType]) -> list[Problem]:
    """Minima first: where they find no room, the maxima are not worth a word."""
    for key, which in (("min_replicas", "minimum"), ("max_replicas", "maximum")):
        claims = [some.claim(getattr(some.scaling, key)) for some in residents]
        alone = [room(some.resources, nodes) for some in residents]
        too_many = [index for index, claim in enumerate(claims) if claim.count > alone[index]]
        if too_many:
            return [
                (
                    _scaling_path(residents[index], key),
                    f"{claims[index].count} is more than the nodes hold at their max_nodes: {alone[index]}, "
                    "if nothing else ran there",
                )
                for index in too_many
            ]
        if left := unplaced(claims, nodes):
            return [
                (
                    _scaling_path(some, key),
                    f"with everything at its {which}, {left[claim.name]} of {claim.count} replicas find no room on the "
                    "nodes at their max_nodes; allow fewer replicas, or more nodes",
                )
                for some, claim in zip(residents, claims, strict=True)
                if claim.name in left
            ]
    return []


def _scaling_path(some: Residents, key: str) -> Path:
    """Of the limit to change; the learner's number is not the operator's to choose."""
    return (*some.path, "resources") if some.path == LEARNER_PATH else (*some.path, "scaling", key)


def _why(resources: TierResources, nodes: Sequence[NodeType]) -> str:
    return "; ".join(f"{name} {words}" for name, words in refusals(resources, nodes).items())
