"""A policy by its name and options, as the catalogue and the command line give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .epsilon_greedy import EpsilonGreedyOptions, EpsilonGreedyPolicy
from .errors import UnknownPolicy
from .factored import FactoredOptions, FactoredPolicy
from .fixed import FixedOptions, FixedPolicy
from .linucb import LinUcbOptions, LinUcbPolicy
from .moving_average import MovingAverageOptions, MovingAveragePolicy
from .options import read_options
from .policy import Policy
from .round_robin import RoundRobinOptions, RoundRobinPolicy
from .thompson import ThompsonOptions, ThompsonPolicy
from .uniform import UniformOptions, UniformPolicy
from .vowpal import VowpalOptions, VowpalPolicy

_POLICIES: dict[str, tuple[type[Any], Callable[[Any], Policy]]] = {
    "epsilon_greedy": (EpsilonGreedyOptions, EpsilonGreedyPolicy),
    "factored": (FactoredOptions, FactoredPolicy),
    "fixed": (FixedOptions, FixedPolicy),
    "linucb": (LinUcbOptions, LinUcbPolicy),
    "moving_average": (MovingAverageOptions, MovingAveragePolicy),
    "round_robin": (RoundRobinOptions, RoundRobinPolicy),
    "thompson": (ThompsonOptions, ThompsonPolicy),
    "uniform": (UniformOptions, UniformPolicy),
    "vowpal": (VowpalOptions, VowpalPolicy),
}

NAMES = tuple(_POLICIES)


def build(name: str, options: Mapping[str, object] | None = None) -> Policy:
    """A fresh policy. Raises UnknownPolicy on a name, option or value that is not allowed, and lists those that are."""
    if name not in _POLICIES:
        raise UnknownPolicy(f"there is no policy {name!r}; known: {', '.join(NAMES)}")
    kind, make = _POLICIES[name]
    return make(read_options(name, kind, options or {}))
