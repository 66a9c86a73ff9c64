"""How many replicas a tier needs: a pure function of a frozen context, so that a day is simulated in milliseconds.

    steady    the fewest replicas with which few wait too long at the forecast rate (Erlang C, `erlang.py`) and none is
              busier than `most_utilisation`. The forecast is the router's, arrivals x probability, for the moment when
              a replica that is ordered now has started: `forecast.py`.
    backlog   those that will wait when a replica that is ordered now has started, beyond what is cleared in time
              (Little's law: length = rate x wait). Worked off within the target latency: all who come meanwhile are
              late too.
    need      steady + backlog, inside the limits and what the nodes hold.

The number goes up once the need has stayed above for `upscale_delay_s` (at once from zero), down to the highest need
of the last `downscale_delay_s` if that is clearly lower, and to zero after `idle_after_s` without work and with less
than one request expected in such a time. No Ray, no clock, no I/O: the caller brings all three.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

from .erlang import MOST_SERVERS, servers_for_wait
from .errors import ImpossibleContext

_MOST_BATCH = 100_000
_LARGEST = sys.float_info.max  # what is compared with it may be an integer of any length
_ROUNDING = 1e-9  # 7/s x 0.1 s / 0.7 is 1.0000000000000002 in floating point, and needs one replica


@dataclass(frozen=True, slots=True)
class ScalingRule:
    """What an operator asks of one tier. Raises ImpossibleContext for figures that cannot be."""

    target_latency_s: float  # from arrival to image: what few may exceed
    min_replicas: int = 1
    max_replicas: int = 1
    upscale_delay_s: float = 0.0  # the need must stay above the present number for so long
    downscale_delay_s: float = 300.0  # and below it for so long
    idle_after_s: float = 300.0  # without work for so long, a tier goes to min_replicas, 0 included
    startup_s: float = 0.0  # from ordering a replica to its first image
    queue_limit: int | None = None  # waiting requests beyond which the tier refuses; None: none
    late_share: float = 0.05  # of all requests, that may miss the target when demand is steady
    most_utilisation: float = 0.9  # leaves large tiers something for errors of forecast and service time
    tolerance: float = 0.1  # the number goes down only if by more than this share: noise moves nothing

    def __post_init__(self) -> None:
        times = ("target_latency_s", "upscale_delay_s", "downscale_delay_s", "idle_after_s", "startup_s", "tolerance")
        _check_finite(self, least=0.0, only=times if self.queue_limit is None else (*times, "queue_limit"))
        if not 0 <= self.min_replicas <= self.max_replicas <= MOST_SERVERS or self.max_replicas < 1:
            raise ImpossibleContext(
                f"min_replicas {self.min_replicas!r} and max_replicas {self.max_replicas!r} must be in order, between "
                f"0 and {MOST_SERVERS}, and max_replicas at least 1"
            )
        for name in ("late_share", "most_utilisation"):
            if not 0 < getattr(self, name) <= 1:
                raise ImpossibleContext(f"{name} is {getattr(self, name)!r}; it must be in (0, 1]")
        if self.tolerance >= 1:
            raise ImpossibleContext(f"tolerance is {self.tolerance!r}; it must be below 1")


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What one call hands to the next. `None`: that is not so now."""

    above_since_s: float | None = None  # the need is above the present number
    below_since_s: float | None = None
    below_peak: int = 0  # the most that was needed since `below_since_s`: scaling down goes there, not to the dip
    idle_since_s: float | None = None  # nothing is in work, nothing to speak of expected


@dataclass(frozen=True, slots=True)
class ScalingContext:
    """All that a scaling decision may depend on. `now_s` is any clock that does not jump, the same in every call.

    Raises ImpossibleContext for a figure that no measurement gives.
    """

    now_s: float
    rule: ScalingRule
    replicas: int  # the present target, whether or not all of them have started
    running: int  # those that have started
    forecast_per_s: float  # requests/s expected once a replica that is ordered now has started
    service_s: float  # seconds of one replica's work on a full batch
    batch: int = 1  # requests that a replica works on at once
    waiting: float = 0.0  # requests in the tier's queue; a mean over some seconds may be a fraction
    ongoing: float = 0.0  # requests in work
    capacity: int | None = None  # replicas that the nodes can hold; None: not known, the rule's limit alone counts
    state: ScalingState = field(default_factory=ScalingState)

    def __post_init__(self) -> None:
        _check_finite(self, least=-_LARGEST, only=("now_s",))
        figures = ("replicas", "running", "forecast_per_s", "service_s", "waiting", "ongoing")
        _check_finite(self, least=0.0, only=figures if self.capacity is None else (*figures, "capacity"))
        if not 1 <= self.batch <= _MOST_BATCH:
            raise ImpossibleContext(f"batch is {self.batch!r}; it must be from 1 to {_MOST_BATCH}")

    @property
    def most(self) -> int:
        """The most replicas that there may be: of the rule and what the nodes hold, but no fewer than the minimum."""
        limit = self.rule.max_replicas if self.capacity is None else min(self.rule.max_replicas, self.capacity)
        return max(limit, self.rule.min_replicas)


def scale(context: ScalingContext) -> tuple[int, ScalingState]:
    """The number of replicas to run from now on, and the state for the next call. Raises nothing."""
    rule, state, now_s = context.rule, context.state, context.now_s
    current = _within(context.replicas, context)
    need = _within(required_replicas(context), context)
    idle_since_s = _since(state.idle_since_s, now_s) if is_idle(context) else None
    if idle_since_s is not None and now_s - idle_since_s >= rule.idle_after_s:
        return rule.min_replicas, ScalingState(idle_since_s=idle_since_s)
    if idle_since_s is not None:
        need = max(need, min(current, 1))  # the last replica goes by the rule above
    if need > current:
        since_s = _since(state.above_since_s, now_s)
        if current == 0 or now_s - since_s >= rule.upscale_delay_s:
            return need, ScalingState(idle_since_s=idle_since_s)
        return current, ScalingState(above_since_s=since_s, idle_since_s=idle_since_s)
    if need < current:
        since_s = _since(state.below_since_s, now_s)
        peak = max(need, state.below_peak) if since_s == state.below_since_s else need
        if now_s - since_s < rule.downscale_delay_s:
            return current, ScalingState(below_since_s=since_s, below_peak=peak, idle_since_s=idle_since_s)
        peak = _within(peak, context)
        target = peak if peak < current * (1.0 - rule.tolerance) else current
        return target, ScalingState(idle_since_s=idle_since_s)
    return current, ScalingState(idle_since_s=idle_since_s)


def required_replicas(context: ScalingContext) -> int:
    """What the moment asks for, without delays; at least one unless the tier is idle, at most `context.most`."""
    if is_idle(context):
        return 0
    most = context.most
    each_s = context.service_s / context.batch  # of a replica's time, per request
    busy = context.forecast_per_s * each_s / context.rule.most_utilisation + _late_replicas(context, each_s)
    if busy >= most:  # a product may overflow to infinity
        return most
    steady = servers_for_wait(
        context.forecast_per_s,
        context.service_s,
        _patience_s(context),
        late_share=context.rule.late_share,
        batch=context.batch,
        most=most,
    )
    total = max(context.forecast_per_s * each_s / context.rule.most_utilisation, steady)
    return min(max(1, math.ceil(total + _late_replicas(context, each_s) - _ROUNDING)), most)


def is_idle(context: ScalingContext) -> bool:
    """Nothing waits or is in work, and less than one request is expected within `idle_after_s`.

    A router that explores sends every tier a little; a little is worth a start-up now and then, not a replica.
    """
    if context.waiting > 0 or context.ongoing > 0:
        return False
    return context.forecast_per_s == 0 or context.forecast_per_s * context.rule.idle_after_s < 1


def _patience_s(context: ScalingContext) -> float:
    """How long a request may wait so that it is still drawn in time; 0 where drawing alone takes longer."""
    return max(0.0, context.rule.target_latency_s - context.service_s)


def _late_replicas(context: ScalingContext, each_s: float) -> float:
    """Replicas that work off, within the target latency, what those that run would not reach in time."""
    if each_s == 0:
        return 0.0
    rule, running = context.rule, context.running
    # What starts now was ordered at all times of the last start-up, and serves half of the next one on average.
    soon = running + max(0, context.replicas - running) / 2
    more = max(0.0, context.forecast_per_s - soon / each_s) * rule.startup_s
    backlog = min(context.waiting + more, math.inf if rule.queue_limit is None else rule.queue_limit)
    in_time = running * _patience_s(context) / each_s  # by Little's law, the queue that is no trouble
    return max(0.0, backlog - in_time) * each_s / max(rule.target_latency_s, each_s)


def _within(replicas: int, context: ScalingContext) -> int:
    return min(max(replicas, context.rule.min_replicas), context.most)


def _since(since_s: float | None, now_s: float) -> float:
    """When the present side began. A clock that went back starts the wait anew, as nothing is known of the gap."""
    return now_s if since_s is None or since_s > now_s else since_s


def _check_finite(values: object, least: float, only: tuple[str, ...]) -> None:
    for name in only:
        value = getattr(values, name)
        if not least <= value <= _LARGEST:  # false for NaN too
            raise ImpossibleContext(f"{name} is {value!r}; it must be finite and {least:g} or more")
