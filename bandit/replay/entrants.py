"""Who takes part in a replay: our policies by name and options, and libraries of others as `peers` adapts them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bandit.errors import UnknownPolicy
from bandit.features import DEFAULT_SCHEMA
from bandit.policies import NAMES, build

from .run import Router
from .trial import Trial
from .vectors import Vectors

SCHEMA = "features_schema"  # the option of a policy that learns from features
BUDGET = "budget_usd"  # the option of a policy that can hold a mean cost


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """All that a router may be built from: no outcome of any prompt is in it."""

    trial: Trial
    first_vectors: Vectors  # [n, D] of the prompts of the part that comes first; D is 0 where there are no vectors
    seed: int


Make: TypeAlias = Callable[[Start], Router]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A router by its label. `make` raises UnknownPolicy where it cannot take part in a trial."""

    label: str
    kind: str  # "policy" | "peer"
    make: Make


def entrants(names: list[str], options: Mapping[str, object], schema: str = DEFAULT_SCHEMA) -> list[Entrant]:
    """`NAME` or `NAME={...}`; without any name, every policy that needs no option. Raises UnknownPolicy.

    A policy that learns from features is built for `schema`.
    """
    if not names:
        names = [name for name in NAMES if _needs_nothing(name)]
    found = [_entrant(text, options, schema) for text in names]
    labels = [one.label for one in found]
    for label in labels:
        if labels.count(label) > 1:
            raise UnknownPolicy(f"{label!r} is named twice; give each policy once, or other options")
    return found


def options_from(text: str, what: str) -> dict[str, object]:
    """Raises UnknownPolicy unless `text` is a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UnknownPolicy(f"{what} {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnknownPolicy(f'{what} {text!r} is not a JSON object; for example {{"floor": 0.02}}')
    return value


def _entrant(text: str, shared: Mapping[str, object], schema: str) -> Entrant:
    name, _, own = text.partition("=")
    options = {**shared, **(options_from(own, f"options of {name}") if own else {})}
    built = build(name, options)  # a wrong name or option is told now, not after the first minute
    if SCHEMA not in options and hasattr(getattr(built, "options", None), SCHEMA):
        options[SCHEMA] = schema

    def make(start: Start) -> Router:
        if start.trial.ceiling_usd is None:
            return build(name, options)
        return build(name, {**options, BUDGET: start.trial.ceiling_usd})

    return Entrant(text if own else name, "policy", make)


def _needs_nothing(name: str) -> bool:
    try:
        build(name)
    except UnknownPolicy:
        return False
    return True
