"""Which nodes a label selector means, as Ray reads it.

    {"ray.io/accelerator-type": "in(L4, A10G)", "ray.io/market-type": "!spot"}

Every rule of a selector must hold. A rule is a value, `!value`, `in(a, b)` or `!in(a, b)`; a node without the label has
none of the values, so only the rules with `!` hold for it.
"""

from __future__ import annotations

from collections.abc import Mapping


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Do all rules hold for a node with these labels? An empty selector means every node."""
    return all(_holds(rule, labels.get(key)) for key, rule in selector.items())


def written(selector: Mapping[str, str]) -> str:
    """A selector as a person writes it."""
    return ", ".join(f"{key}: {rule}" for key, rule in selector.items())


def _holds(rule: str, value: str | None) -> bool:
    wanted = rule.removeprefix("!")
    if wanted.startswith("in(") and wanted.endswith(")"):
        values = [item.strip() for item in wanted[3:-1].split(",")]
    else:
        values = [wanted]
    return (value in values) != rule.startswith("!")
