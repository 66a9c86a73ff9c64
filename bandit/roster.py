"""Which arms the learned records still speak of, so that what was learned of removed ones does not stay for good."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .errors import BadState

# An arm that was in the context of none of so many records was removed from the catalogue. One that is only away
# (circuit open, scaled to nothing) stays in every context, as unavailable, and is never forgotten.
FORGET_AFTER_RECORDS = 100_000
_LOOK_EVERY = 1_000  # records; looking costs more than noting


class Roster:
    """The record in whose context each arm was last seen."""

    def __init__(self) -> None:
        self._records = 0
        self._seen: dict[str, int] = {}

    def note(self, names: Iterable[str]) -> tuple[str, ...]:
        """Count one record whose context holds `names`; what comes back are the arms to forget, mostly none."""
        self._records += 1
        self._seen.update(dict.fromkeys(names, self._records))
        if self._records % _LOOK_EVERY:
            return ()
        gone = tuple(name for name, at in self._seen.items() if self._records - at >= FORGET_AFTER_RECORDS)
        for name in gone:
            del self._seen[name]
        return gone

    def state(self) -> bytes:
        """JSON with sorted keys."""
        return json.dumps([self._records, self._seen], sort_keys=True).encode()

    @classmethod
    def read(cls, state: bytes) -> Roster:
        """The roster that wrote `state`. Raises BadState."""
        roster = cls()
        try:
            records, seen = json.loads(state)
            if not all(type(at) is int and 0 <= at <= records for at in (records, *seen.values())):
                raise BadState(f"the roster of {records!r} records holds a number that no record has")
            roster._records, roster._seen = records, dict(seen)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"the roster cannot be read: {error}") from error
        return roster
