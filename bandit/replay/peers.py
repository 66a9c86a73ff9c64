"""Routers of other libraries, beside ours in the same replay. They are optional and imported only when asked for."""

from __future__ import annotations

from bandit.errors import UnknownPolicy

from .entrants import Entrant

PEERS: tuple[str, ...] = ()


def peer(name: str) -> Entrant:
    """Raises UnknownPolicy."""
    raise UnknownPolicy(f"there is no peer {name!r}; known: {', '.join(PEERS)}")
