"""Where a request goes when an attempt failed, and how long an attempt may take: pure functions.

auto          same tier once more where another replica runs, then the next best arm on a tier not tried yet
tier or arm   the asked tier only, never silently another
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bandit.context import ArmContext

Failure = Literal["died", "full", "late", "drawing_failed", "cancelled"]

ATTEMPTS_LIMIT = 4
_SHARE_OF_REST = 0.6  # of the time left, for an attempt that others may follow


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one arm, as the journal keeps it. `error` None: it served."""

    arm: str
    tier: str
    error: Failure | None
    elapsed_s: float

    def as_json(self) -> dict[str, object]:
        """The row's form."""
        return {"arm": self.arm, "error": self.error, "elapsed_s": round(self.elapsed_s, 6)}


def next_arm(
    probabilities: Mapping[str, float],
    arms: Sequence[ArmContext],
    attempts: Sequence[Attempt],
    *,
    pinned: bool,
    open_tiers: Collection[str],
) -> str | None:
    """The arm to try after `attempts` (not empty, all failed), None where trying must end.

    `arms` carries the replicas known now; `open_tiers` those that may be sent to; `pinned` a tier asked for by name.
    """
    last = attempts[-1]
    if len(attempts) >= ATTEMPTS_LIMIT:
        return None
    if pinned:
        return last.arm if last.error in ("died", "drawing_failed") else None
    tries = [attempt.tier for attempt in attempts]
    replicas = {arm.tier: arm.replicas for arm in arms}
    if last.error in ("died", "drawing_failed") and tries.count(last.tier) == 1 and replicas[last.tier] > 1:
        return last.arm
    fresh = [arm for arm in arms if arm.tier not in tries and arm.tier in open_tiers]
    if fresh:
        # Beyond what the policy would draw, as arms above the caller's ceiling are, the cheapest.
        return max(fresh, key=lambda arm: (probabilities.get(arm.name, 0.0), -arm.price_usd)).name
    # Nothing else is left: a tier whose only replica died may get a new one inside the deadline.
    return last.arm if last.error == "died" and tries.count(last.tier) == 1 else None


def attempt_timeout_s(rest_s: float, *, others_left: bool) -> float:
    """Seconds that an attempt may take when `rest_s` of the deadline are left."""
    return rest_s * _SHARE_OF_REST if others_left else rest_s
