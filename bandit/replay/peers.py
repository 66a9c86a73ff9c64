"""Routers of other libraries, beside ours in the same replay.

They are optional: imported only when they are asked for, and installed in an environment of their own choice
(`pip install --no-deps paretobandit==0.1.1 mabwiser==2.7.4 bayesianbandits==1.5.0`, and what these need: scikit-learn,
pandas, seaborn, joblib, tqdm, attrs). Each sees what our policies see: the sentence vector, the known prices, and the
outcome of the drawn arm.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from bandit.context import Context, Record
from bandit.errors import UnknownPolicy
from bandit.utility import utility

from .entrants import Entrant, Make, Start

_MODULES = {
    "paretobandit": ("peer_paretobandit", "make"),
    "paretobandit-pacer-only": ("peer_paretobandit", "make_without_penalty"),
    "mabwiser-linucb": ("peer_mabwiser", "make_linucb"),
    "mabwiser-lints": ("peer_mabwiser", "make_lints"),
    "bayesianbandits-lints": ("peer_bayesianbandits", "make"),
}
PEERS = tuple(_MODULES)


def peer(name: str) -> Entrant:
    """Raises UnknownPolicy on a name that is not known, or a library that is not installed."""
    if name not in _MODULES:
        raise UnknownPolicy(f"there is no peer {name!r}; known: {', '.join(PEERS)}")
    module, function = _MODULES[name]
    make: Make = getattr(import_module(f"bandit.replay.{module}"), function)
    return Entrant(name, "peer", make)


def library(module: str, package: str) -> ModuleType:
    """A library of others, or UnknownPolicy with what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UnknownPolicy(
            f"peer {package} cannot be imported ({error}); install it: pip install {package}"
        ) from error


def check_start(start: Start, package: str, *, paces: bool) -> None:
    """Raises UnknownPolicy where a peer cannot take part: without vectors, or under a ceiling that it cannot hold."""
    if start.first_vectors.shape[1] == 0:
        raise UnknownPolicy(f"peer {package} chooses by sentence vectors; give them with --vectors FILE")
    if start.trial.ceiling_usd is not None and not paces:
        raise UnknownPolicy(f"peer {package} cannot hold a mean cost")


def reward(record: Record) -> float:
    """The caller's utility, for learners of one scalar."""
    return utility(record.context.weights, record.quality, record.latency_s, record.cost_usd)


def certain(context: Context, arm: str) -> dict[str, float]:
    """Probabilities of a router that draws nothing at random, or does not say with what probability."""
    return {one.name: float(one.name == arm) for one in context.arms}
