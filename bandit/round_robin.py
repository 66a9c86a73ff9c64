"""Every arm in its turn: what many load balancers do, and the fairest baseline that looks at nothing.

A turn is a draw that was learned. The arm with the fewest turns is next, among those that this caller may be given; of
equals, the first of the catalogue. Decisions are pure and turns are counted centrally, later: all gateways with the
same snapshot give all requests to the same arm until the next snapshot, so a turn is as long as snapshots are apart.
Fewest first evens out whatever a long turn has done; counting rounds modulo arms would not (snapshots every 200 joins
would always meet the same one of four arms).

Nobody is owed: an arm that was away, beyond a caller's limits, or not there yet, is put level with the one that has
fewest turns, instead of being flooded until it has caught up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from .context import Context, Decision, Record
from .envelope import pack, unpack
from .errors import BadState
from .options import check_ranges
from .policy import decide_by, eligible_arms
from .roster import Roster
from .validation import check_context, check_record


@dataclass(frozen=True, slots=True)
class RoundRobinOptions:
    """Options of `round_robin`."""

    floor: float = 0.05  # share of uniform draws; without any, the log of this policy can judge no other
    features_schema: str = "words-1"

    def __post_init__(self) -> None:
        check_ranges(self)


class RoundRobinPolicy:
    """The eligible arm with the fewest turns, but for a share of uniform draws."""

    name = "round_robin"

    def __init__(self, options: RoundRobinOptions | None = None) -> None:
        self.options = options or RoundRobinOptions()
        self._turns: dict[str, int] = {}
        self._roster = Roster()
        self._learned = 0

    def decide(self, context: Context, rng: Random) -> Decision:
        """Raises BadContext or NoArmAvailable."""
        check_context(context, self.options.features_schema)
        turns = self._level(context)
        following = min(turns, key=lambda name: turns[name])
        return decide_by(
            {arm.name: float(arm.name == following) for arm in context.arms}, context, self.options.floor, rng
        )

    def learn(self, record: Record) -> None:
        """Count the turn of the arm that was drawn, whichever served in the end. Raises BadRecord, and counts nothing.

        A vote that came later is no turn; neither is a draw without a choice (a tier asked for by name).
        """
        check_record(record, self.options.features_schema)
        choices = sum(arm.available for arm in record.context.arms)
        if choices > 1 and not record.amends:
            turns = self._level(record.context)
            least = min(turns.values())
            for arm in record.context.arms:
                self._turns[arm.name] = max(self._turns.get(arm.name, least), least)
            if record.decision.arm in self._turns:
                self._turns[record.decision.arm] += 1
        for gone in self._roster.note(arm.name for arm in record.context.arms):
            self._turns.pop(gone, None)
        self._learned += 1

    def state(self) -> bytes:
        """See `envelope`."""
        turns = json.dumps(self._turns, sort_keys=True).encode()
        return pack(self.name, {}, self._learned, {"turns": turns, "roster": self._roster.state()})

    def restore(self, state: bytes) -> None:
        """Raises BadState, and stays as it was, if another policy wrote the bytes or they are damaged."""
        learned, parts = unpack(state, self.name, {}, frozenset({"turns", "roster"}))
        roster = Roster.read(parts["roster"])
        try:
            turns = json.loads(parts["turns"])
            if not all(type(count) is int and count >= 0 for count in turns.values()):
                raise BadState(f"turns are {turns!r}; allowed: whole numbers from 0")
        except (ValueError, AttributeError, RecursionError) as error:
            raise BadState(f"turns cannot be read: {error}") from error
        self._turns, self._roster, self._learned = turns, roster, learned

    def _level(self, context: Context) -> dict[str, int]:
        """Turns of the eligible arms; one that was never seen has as many as the one with fewest."""
        known = {arm.name: self._turns.get(arm.name) for arm in eligible_arms(context)}
        least = min((count for count in known.values() if count is not None), default=0)
        return {name: least if count is None else count for name, count in known.items()}
