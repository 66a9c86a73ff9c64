"""Options of policies: frozen values, checked once, errors that list what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

from .errors import UnknownPolicy
from .features import SCHEMAS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)

# (lowest, highest) of every numeric option that any policy has; the same name means the same in all of them.
RANGES: dict[str, tuple[float, float]] = {
    "alpha": (0.0, 100.0),
    "bag_size": (2, 32),
    "bits": (10, 24),
    "buckets": (0, 1024),
    "budget_usd": (1e-12, 1e6),
    "budget_usd_per_hour": (1e-9, 1e9),
    "draws": (16, 65536),
    "floor": (0.0, 1.0),
    "gamma_exponent": (0.0, 3.0),
    "gamma_scale": (0.0, 1e6),
    "greedy_epsilon": (0.0, 1.0),
    "latency_share": (1e-6, 1.0),
    "learning_rate": (1e-6, 10.0),
    "memory": (100.0, 1e9),
    "optimism": (0.0, 100.0),
    "own_penalty": (1e-3, 1e6),
    "posterior_scale": (0.0, 100.0),
    "quality_share": (1e-6, 1.0),
    "rating_share": (0.0, 1.0),
    "ridge": (1e-3, 1e6),
    "scalar_learning_rate": (1e-6, 10.0),
    "shared_penalty": (1e-3, 1e6),
    "softmax_lambda": (0.0, 1e6),
}

# What an option that is a word may be.
CHOICES: dict[str, tuple[str, ...]] = {
    "arm_features": ("described", "named"),
    "exploration": ("squarecb", "epsilon", "softmax", "bag"),
    "quality_model": ("auto", "ridge", "vowpal"),
}


def check_ranges(options: DataclassInstance) -> None:
    """Raises UnknownPolicy if a value is of the wrong kind or out of its range."""
    for field in fields(options):
        value = getattr(options, field.name)
        if value is None and field.default is None:
            continue  # an option that may be absent
        if field.name in RANGES:
            lowest, highest = RANGES[field.name]
            kinds = (int,) if field.type == "int" else (int, float)
            # bool is an int to Python and a slip of the pen to everyone else.
            if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:
                kind = "a whole number" if kinds == (int,) else "a number"
                raise UnknownPolicy(f"option {field.name} is {value!r}; allowed: {kind}, {lowest:g} to {highest:g}")
            assert isfinite(value)
        elif field.name == "features_schema":
            if value not in SCHEMAS:
                raise UnknownPolicy(f"option features_schema is {value!r}; allowed: {', '.join(SCHEMAS)}")
        elif field.name in CHOICES:
            if value not in CHOICES[field.name]:
                raise UnknownPolicy(f"option {field.name} is {value!r}; allowed: {', '.join(CHOICES[field.name])}")
        elif not isinstance(value, str) or not value:
            raise UnknownPolicy(f"option {field.name} is {value!r}; allowed: a name that is not empty")


def read_options(policy: str, kind: type[Options], given: Mapping[str, object]) -> Options:
    """`given` as frozen options of one policy. Raises UnknownPolicy on a name or value that is not allowed."""
    known = {field.name: field for field in fields(kind)}
    allowed = ", ".join(known) or "none"
    for name in given:
        if name not in known:
            raise UnknownPolicy(f"policy {policy!r} has no option {name!r}; allowed: {allowed}")
    for name, field in known.items():
        if field.default is MISSING and name not in given:
            raise UnknownPolicy(f"policy {policy!r} needs option {name!r}; allowed: {allowed}")
    return kind(**given)
