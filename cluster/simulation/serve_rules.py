"""What Ray Serve 2.60 does with its own metrics, as pure functions: the policy that ours is compared with.

Written from what `ray/serve/autoscaling_policy.py` and `_private/autoscaling_state.py` do, and held to it by a test
that runs both: a number of replicas is asked for, scaled by factors, held back by delays, and kept inside bounds. A
tier without running replicas goes to one as soon as anything waits, and its policy is not asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_EPS_S = 1e-6  # Serve's: two large clock readings may differ by a little less than the delay


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Serve's `autoscaling_config`, under its names and with its defaults."""

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 2.0
    look_back_period_s: float = 30.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None  # None: as downscale_delay_s
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class ServeState:
    """Which way the last calls pointed, and since when. `since_s` None: they pointed nowhere."""

    direction: int = 0
    since_s: float | None = None


def cold_start_replicas(running: int, target: int, total: float, settings: ServeSettings) -> int | None:
    """What a tier without running replicas gets while anything waits; None: the policy is asked."""
    if running > 0 or total <= 0:
        return None
    return bounded(max(math.ceil(settings.upscaling_factor), target), settings)


def queue_length_replicas(running: int, target: int, total: float, settings: ServeSettings) -> float:
    """Serve's default policy: so many that each has `target_ongoing_requests`, in work and waiting."""
    if running == 0:
        return float(target)
    return running * (total / (settings.target_ongoing_requests * running))


def held_back(
    desired: float, running: int, target: int, now_s: float, settings: ServeSettings, state: ServeState
) -> tuple[int, ServeState]:
    """What becomes of a policy's answer: factors, delays, bounds."""
    wanted = _factored(desired, running, settings)
    if running == 0 and wanted > 0:
        return bounded(wanted, settings), state
    wanted = max(0, wanted)
    if wanted == target:
        return bounded(target, settings), ServeState()
    direction = 1 if wanted > target else -1
    since_s = state.since_s if state.since_s is not None and state.direction == direction else now_s
    if direction > 0:
        delay_s = settings.upscale_delay_s
    elif target == 1 and settings.downscale_to_zero_delay_s is not None:
        delay_s = settings.downscale_to_zero_delay_s
    else:
        delay_s = settings.downscale_delay_s
    if target != 1:
        wanted = max(1, wanted)  # to zero only from one
    if now_s - since_s + _EPS_S < delay_s:
        return bounded(target, settings), ServeState(direction, since_s)
    return bounded(wanted, settings), ServeState()


def bounded(replicas: int, settings: ServeSettings) -> int:
    """Inside the limits."""
    return max(settings.min_replicas, min(settings.max_replicas, replicas))


def _factored(desired: float, running: int, settings: ServeSettings) -> int:
    if running == 0:
        return math.ceil(desired)
    factor = settings.upscaling_factor if desired > running else settings.downscaling_factor
    scaled = math.ceil(running + factor * (desired - running))
    if math.ceil(desired) < running and scaled == running:
        scaled -= 1
    return scaled
