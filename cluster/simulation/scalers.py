"""Who says how many replicas a tier should have: ours and Serve's, both fed and wrapped as Serve's controller does.

Serve's handles and replicas sample what is in flight, push their samples every `push_s`, and the controller reads a
mean over the last `look_back_s`. So a policy sees the past, and a forecast that travels with samples is late too.
A tier without replicas is the exception: its callers tell at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from cluster.forecast import Forecast, ForecastRule
from cluster.scaling import ScalingContext, ScalingRule, ScalingState, scale

from .serve_rules import ServeSettings, ServeState, cold_start_replicas, held_back, queue_length_replicas
from .tiers import TierModel


@dataclass(frozen=True, slots=True)
class Seen:
    """A tier at one moment."""

    at_s: float
    waiting: float
    ongoing: float
    forecast: Forecast


class Scaler(Protocol):
    """One tier's scaler; keeps state between calls."""

    def decide(self, now: Seen, running: int, target: int) -> int:
        """The number of replicas from now on. Called at every tick, with what is true now; what of it may be used is
        the scaler's own business."""


class FixedReplicas:
    """No scaling: always the same number."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def decide(self, now: Seen, running: int, target: int) -> int:
        """The number given."""
        return self._replicas


class Telemetry:
    """What the controller knows: pushed samples, the mean of those of the last `look_back_s`."""

    def __init__(self, look_back_s: float, push_s: float = 10.0) -> None:
        self._look_back_s, self._push_s, self._sample_s = look_back_s, push_s, 0.2 * look_back_s
        self._taken: deque[tuple[float, float, float, float]] = deque()
        self._told: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._next_sample_s = self._next_push_s = 0.0

    def see(self, now: Seen, expected_per_s: float, *, at_once: bool) -> tuple[float, float, float]:
        """Waiting, ongoing and expected requests/s, as the controller knows them now. `at_once`: as they are."""
        if now.at_s >= self._next_sample_s:
            self._taken.append((now.at_s, now.waiting, now.ongoing, expected_per_s))
            self._next_sample_s = now.at_s + self._sample_s
        while self._taken and self._taken[0][0] < now.at_s - self._look_back_s:
            self._taken.popleft()
        if at_once:
            return now.waiting, now.ongoing, expected_per_s
        if now.at_s >= self._next_push_s and self._taken:
            self._next_push_s = now.at_s + self._push_s
            count = len(self._taken)
            _, waiting, ongoing, expected = zip(*self._taken, strict=True)
            self._told = (sum(waiting) / count, sum(ongoing) / count, sum(expected) / count)
        return self._told


class ServeDefault:
    """Serve's own policy."""

    def __init__(self, settings: ServeSettings, push_s: float = 10.0) -> None:
        self._settings, self._state = settings, ServeState()
        self._telemetry = Telemetry(settings.look_back_period_s, push_s)

    def decide(self, now: Seen, running: int, target: int) -> int:
        """As Serve's controller would."""
        waiting, ongoing, _ = self._telemetry.see(now, 0.0, at_once=running == 0)
        total, settings = waiting + ongoing, self._settings
        cold = cold_start_replicas(running, target, total, settings)
        if cold is not None:
            return cold
        desired = queue_length_replicas(running, target, total, settings)
        replicas, self._state = held_back(desired, running, target, now.at_s, settings, self._state)
        return replicas


class ForecastScaler:
    """Ours inside Serve: `cluster.scaling.scale`, with Serve's metrics and cold start around it.

    `forecasts` False: without the router, from the queue alone, as `serve/scaling_policy.py` does it then.
    """

    def __init__(
        self,
        rule: ScalingRule,
        tier: TierModel,
        forecast_rule: ForecastRule | None = None,
        *,
        forecasts: bool = True,
        look_back_s: float = 12.0,
        push_s: float = 10.0,
    ) -> None:
        self._rule, self._tier, self._forecasts = rule, tier, forecasts
        self._forecast_rule = forecast_rule or ForecastRule()
        self._service_s = tier.service.mean_s(tier.batch)
        self._telemetry, self._state = Telemetry(look_back_s, push_s), ScalingState()
        # What the controller sees is on average half a mean and half a push old: the forecast looks so much further.
        self._horizon_s = rule.startup_s + (look_back_s + push_s) / 2
        # Serve's delays are off, but it still goes to zero only from one.
        self._around = ServeSettings(rule.min_replicas, rule.max_replicas, upscale_delay_s=0.0, downscale_delay_s=0.0)

    def decide(self, now: Seen, running: int, target: int) -> int:
        """As the wrapper in Serve's controller would."""
        expected = now.forecast.rate_per_s(self._horizon_s, self._forecast_rule)
        waiting, ongoing, expected = self._telemetry.see(now, expected, at_once=running == 0)
        cold = cold_start_replicas(running, target, waiting + ongoing, self._around)
        if cold is not None:
            return cold
        if not self._forecasts or running == 0:  # without a replica nobody tells of a forecast
            expected = ongoing / self._service_s
        context = ScalingContext(
            now_s=now.at_s,
            rule=self._rule,
            replicas=target,
            running=running,
            forecast_per_s=expected,
            service_s=self._service_s,
            batch=self._tier.batch,
            waiting=waiting,
            ongoing=ongoing,
            state=self._state,
        )
        replicas, self._state = scale(context)
        return held_back(float(replicas), running, target, now.at_s, self._around, ServeState())[0]
