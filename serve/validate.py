"""`python -m serve validate`: everything that can be known before anything starts, and a table of what would run where.

What is wrong inside the file, its node types included, `load_catalogue` refuses; here follow the classes that it names
and what the file's parts mean for each other on more than one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy.engine import make_url

from cluster.nodes import NodeType
from cluster.packing import room
from cluster.placement import places, workers
from cluster.resources import TierResources

from .catalogue import Catalogue
from .catalogue_nodes import Problem, Residents

_GAP = "  "


def deployment_problems(catalogue: Catalogue, *, journal_elsewhere: bool) -> Iterator[Problem]:
    """What fails only once it runs on machines. `journal_elsewhere`: its URL comes from the nodes' environment."""
    machines = sum(node.max_nodes for node in workers(catalogue.nodes))
    if machines > 1 and not journal_elsewhere and make_url(catalogue.journal.url).get_backend_name() == "sqlite":
        yield (
            ("journal", "url") if "url" in catalogue.journal.model_fields_set else ("journal",),
            f"SQLite is a file of one machine, and the nodes may be {machines}: give postgresql+psycopg://user@host/"
            "database here, or set SWITCHBOARD_JOURNAL_URL",
        )


def class_problems(catalogue: Catalogue) -> list[Problem]:
    """Classes, options and presets that a replica would refuse. Imports torch, loads no weights.

    Model folders and devices are looked for on this machine, unless there are node types: then they are theirs.
    """
    from .preflight import problems_in

    return problems_in(catalogue, here=not catalogue.nodes)


def table(catalogue: Catalogue) -> str:
    """What runs, what a replica takes, where it may run, how many there may be, and how many would fit."""
    rows: list[tuple[str, ...]] = [("", "a replica takes", "may run on", "replicas", "room for")]
    rows += [_row(some, catalogue.nodes) for some in catalogue.residents()]
    lines = _aligned(rows)
    if catalogue.nodes:
        lines += ["", *_aligned([("node type", "at most", "gives"), *map(_node_row, workers(catalogue.nodes))])]
        lines += ["", "There is room for everything at its maximum at once."]
    else:
        cpus, gpus = _total(catalogue.residents())
        lines += ["", f"One machine, no node types: at its maximum everything takes {cpus:g} CPUs and {gpus:g} GPUs."]
    return "\n".join(lines)


def _row(some: Residents, nodes: Sequence[NodeType]) -> tuple[str, ...]:
    limits = some.scaling
    replicas = f"{limits.min_replicas}..{limits.max_replicas}"
    if not nodes:
        return some.name, _taken(some.resources), "this machine", replicas, "-"
    ranks: dict[int, list[str]] = {}
    for place in places(some.resources, nodes):
        ranks.setdefault(place.rank, []).append(place.node_type.name)
    where = ", else ".join(" or ".join(names) for _, names in sorted(ranks.items()))
    return some.name, _taken(some.resources), where, replicas, str(room(some.resources, nodes))


def _taken(resources: TierResources) -> str:
    parts = [f"{resources.num_cpus:g} CPU"]
    if resources.num_gpus or resources.accelerator_type:
        parts.append(f"{resources.num_gpus:g} {resources.accelerator_type or 'GPU'}")
    if resources.memory_gib is not None:
        parts.append(f"{resources.memory_gib:g} GiB")
    parts += [f"{amount:g} {name}" for name, amount in resources.custom.items()]
    return ", ".join(parts)


def _node_row(node: NodeType) -> tuple[str, ...]:
    parts = [f"{node.num_cpus} CPU"]
    if node.num_gpus:
        parts.append(f"{node.num_gpus} {node.accelerator_type or 'GPU'}")
    if node.memory_gib is not None:
        parts.append(f"{node.memory_gib:g} GiB")
    parts += [f"{amount} {name}" for name, amount in node.custom.items()]
    return node.name, str(node.max_nodes), ", ".join(parts)


def _total(residents: Sequence[Residents]) -> tuple[float, float]:
    return (
        sum(some.resources.num_cpus * some.scaling.max_replicas for some in residents),
        sum(some.resources.num_gpus * some.scaling.max_replicas for some in residents),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
