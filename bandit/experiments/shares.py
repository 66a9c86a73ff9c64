"""Pieces of the unit interval, in billionths: who owns which of them, and how ownership changes with the fewest moves.

The interval is a row of TICKS points. A unit's hash is one point and never changes, so a unit moves only if its point
changes hands. Whole numbers, because shares that are compared as floats end in units that nobody or two own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

TICKS = 1_000_000_000

Pieces = tuple[tuple[int, int], ...]  # [start, end) each, in the order in which they were taken


def point(*parts: str) -> int:
    """Where a text lies on [0, TICKS): the same on every machine, in every process, for ever."""
    digest = hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") * TICKS >> 64


def holds(pieces: Pieces, tick: int) -> bool:
    """Whether one of the pieces covers the point."""
    return any(start <= tick < end for start, end in pieces)


def size(pieces: Iterable[tuple[int, int]]) -> int:
    """Ticks in all pieces together."""
    return sum(end - start for start, end in pieces)


def ticks_of(weights: Mapping[str, float]) -> dict[str, int]:
    """Weights that add up to 1 as whole ticks that add up to TICKS; what rounding leaves goes to the largest rests."""
    exact = {name: weight * TICKS for name, weight in weights.items()}
    ticks = {name: int(amount) for name, amount in exact.items()}
    missing = TICKS - sum(ticks.values())
    by_rest = sorted(exact, key=lambda name: ticks[name] - exact[name])
    for place in range(abs(missing)):
        ticks[by_rest[place % len(by_rest)]] += 1 if missing > 0 else -1
    return ticks


def free_of(claims: Iterable[Pieces]) -> Pieces:
    """What none of the claims covers."""
    free, place = [], 0
    for start, end in sorted(piece for pieces in claims for piece in pieces):
        if start > place:
            free.append((place, start))
        place = max(place, end)
    return (*free, (place, TICKS)) if place < TICKS else tuple(free)


def reshared(current: Mapping[str, Pieces], sizes: Mapping[str, int], free: Pieces = ()) -> dict[str, Pieces]:
    """Pieces of the wanted sizes: whoever shrinks gives up its end, whoever grows takes what is free.

    No division of these sizes moves fewer points. Raises ValueError if the sizes need more than is there.
    """
    kept: dict[str, Pieces] = {}
    spare = list(free)
    for name, owned in current.items():
        kept[name], given_up = _cut(owned, sizes.get(name, 0))
        spare += given_up
    result: dict[str, Pieces] = {}
    for name, wanted in sizes.items():
        owned = kept.get(name, ())
        taken, rest = _cut(spare, wanted - size(owned))
        if size(owned) + size(taken) != wanted:
            raise ValueError(f"{name} wants {wanted} of {TICKS} points, and {size(owned) + size(taken)} are there")
        spare = list(rest)
        result[name] = _joined([*owned, *taken])
    return result


def _cut(pieces: Sequence[tuple[int, int]], wanted: int) -> tuple[Pieces, Pieces]:
    """The first `wanted` ticks of the pieces, and the rest."""
    first: list[tuple[int, int]] = []
    rest: list[tuple[int, int]] = []
    for start, end in pieces:
        middle = min(end, start + wanted)
        if middle > start:
            first.append((start, middle))
        if end > middle:
            rest.append((middle, end))
        wanted -= middle - start
    return tuple(first), tuple(rest)


def _joined(pieces: Sequence[tuple[int, int]]) -> Pieces:
    """The same pieces, with one that goes on where the last one ended written as one."""
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)
