"""How many replicas a tier needs: a pure function of a frozen context, so that a day is simulated in milliseconds.

Replicas that must work at once = arrivals per second x seconds of work per request (Little's law); dividing by the
target utilisation leaves room for arrivals that bunch. The number moves only when the need has stayed on one side
for the delay of that side, and never leaves the limits. No Ray, no clock, no I/O: the caller brings all three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .errors import ImpossibleContext
from .resources import ScalingLimits

_ROUNDING = 1e-9  # 7/s x 0.1 s / 0.7 is 1.0000000000000002 in floating point, and needs one replica


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What one call hands to the next. `None`: the need is not on that side now."""

    above_since_s: float | None = None
    below_since_s: float | None = None
    below_peak: int = 0  # the most that was needed since `below_since_s`: scaling down goes there, not to the dip


@dataclass(frozen=True, slots=True)
class ScalingContext:
    """All that a scaling decision may depend on. `now_s` is any clock that does not jump, the same in every call."""

    now_s: float
    replicas: int  # the present target, whether or not all of them have started
    demand_per_s: float  # requests/s that the router sends to this tier: arrivals x probability
    service_s: float  # seconds of one replica's work per request
    limits: ScalingLimits
    target_utilisation: float = 0.7  # share of its time that a replica should be busy, in (0, 1]
    state: ScalingState = field(default_factory=ScalingState)

    def __post_init__(self) -> None:
        for name in ("now_s", "demand_per_s", "service_s", "target_utilisation"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ImpossibleContext(f"{name} is {value!r}; it must be finite")
        for name in ("replicas", "demand_per_s", "service_s"):
            if getattr(self, name) < 0:
                raise ImpossibleContext(f"{name} is {getattr(self, name)!r}; it must be 0 or more")
        if not 0 < self.target_utilisation <= 1:
            raise ImpossibleContext(f"target_utilisation is {self.target_utilisation!r}; it must be in (0, 1]")


def scale(context: ScalingContext) -> tuple[int, ScalingState]:
    """The number of replicas to run from now on, and the state for the next call. Raises nothing."""
    need = _within(required_replicas(context), context.limits)
    current = _within(context.replicas, context.limits)
    state, now_s = context.state, context.now_s
    if need > current:
        since_s = _since(state.above_since_s, now_s)
        if now_s - since_s >= context.limits.upscale_delay_s:
            return need, ScalingState()
        return current, ScalingState(above_since_s=since_s)
    if need < current:
        since_s = _since(state.below_since_s, now_s)
        peak = max(need, state.below_peak) if since_s == state.below_since_s else need
        if now_s - since_s >= context.limits.downscale_delay_s:
            return _within(peak, context.limits), ScalingState()
        return current, ScalingState(below_since_s=since_s, below_peak=peak)
    return current, ScalingState()


def required_replicas(context: ScalingContext) -> int:
    """What the demand asks for, without delays and bounds. Any demand at all needs at least one."""
    if context.demand_per_s == 0:
        return 0
    busy = context.demand_per_s * context.service_s / context.target_utilisation
    bounded = min(busy, float(context.limits.max_replicas))  # a product may overflow to infinity
    return max(1, math.ceil(bounded - _ROUNDING))


def _within(replicas: int, limits: ScalingLimits) -> int:
    return min(max(replicas, limits.min_replicas), limits.max_replicas)


def _since(since_s: float | None, now_s: float) -> float:
    """When the present side began. A clock that went back starts the wait anew, as nothing is known of the gap."""
    return now_s if since_s is None or since_s > now_s else since_s
