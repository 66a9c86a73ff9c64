"""Our scaling inside Serve's controller: a policy of Serve's form that never raises, blocks or does I/O.

Serve calls every deployment's policy in the loop that keeps all applications alive, and catches nothing: one policy
that raises stalls every application on the cluster. So any doubt here means "as many as now". A deployment names it by
`policy_settings`; it is shipped to the controller by value, which need not have this tree.

Serve puts its own delays around a policy: set `upscale_delay_s` and `downscale_delay_s` to 0 there, ours are in the
rule. From zero replicas Serve starts one by itself as soon as anything waits, without asking.

What a tier's replicas may tell by `record_autoscaling_stats` comes as a mean over `look_back_period_s`:
    forecast_per_s   requests/s that all gateways together expect for the tier, as the replica last heard
    batch_service_s  seconds of a full batch, as the replica measured
Without a forecast the queue alone speaks: what is in work, over the seconds that it takes, arrives (Little's law).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from ray import cloudpickle

import cluster
from cluster.scaling import ScalingContext, ScalingRule, ScalingState, scale

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

logger = logging.getLogger("ray.serve")

POLICY_PATH = "serve.scaling_policy:ForecastScaling"
FORECAST, BATCH_SERVICE = "forecast_per_s", "batch_service_s"
_STATE = "switchboard"  # our key in Serve's state, which carries keys of its own
_MOST_BELIEVED = 1_000_000  # replicas; a present number beyond is no number of replicas


def policy_settings(rule: ScalingRule, *, batch_service_s: float, batch: int = 1) -> dict[str, Any]:
    """What Serve takes as `autoscaling_config["policy"]`, to be used in this process.

    Serve pickles a policy by value, but by reference what it imports; from here on that holds for `cluster` no more.
    """
    cloudpickle.register_pickle_by_value(cluster)
    given = {"rule": asdict(rule), "batch_service_s": batch_service_s, "batch": batch}
    return {"policy_function": POLICY_PATH, "policy_kwargs": given}


class ForecastScaling:
    """Serve makes one per deployment, with `policy_kwargs`, and calls it at every turn of its loop."""

    def __init__(self, *, rule: Any = None, batch_service_s: Any = None, batch: Any = 1, **unknown: object) -> None:
        """`rule`: the fields of ScalingRule, whose bounds Serve's replace. `batch_service_s`: until it is measured.

        Arguments that are missing or cannot be are logged, and the number of replicas then stays as it is: this too
        runs in the loop.
        """
        self._rule: ScalingRule | None = None
        self._batch_service_s, self._batch = batch_service_s, batch
        self._present = 1  # stands where even Serve's own number cannot be read
        self._faults = 0  # in a row
        try:
            self._rule = ScalingRule(**rule)
        except Exception as error:  # noqa: BLE001 - recorded, and every call says so again
            self._record(error)
        if unknown:
            logger.warning("scaling policy: arguments without a meaning: %s", ", ".join(unknown))

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and the state that comes back with the next call. Never raises."""
        try:
            replicas, state = scale(self._context(ctx))
            if type(replicas) is not int:
                raise TypeError(f"Serve's bounds are no whole numbers: {replicas!r}")
            self._present, self._faults = replicas, 0
            return replicas, {_STATE: asdict(state)}
        except Exception as error:  # noqa: BLE001 - recorded; raising would stall every application of the cluster
            self._record(error)
            return self._as_now(ctx), {}

    def _context(self, ctx: AutoscalingContext) -> ScalingContext:
        if self._rule is None:
            raise ValueError("the rule given to it cannot be, see above")
        running = ctx.current_num_replicas
        told = ctx.aggregated_metrics or {}
        service_s = _middle(told.get(BATCH_SERVICE))
        if not service_s:
            service_s = self._batch_service_s
        # A replica may hold more than it works on; what is beyond a batch waits there.
        total, queued = float(ctx.total_num_requests), float(ctx.total_queued_requests)
        if not (math.isfinite(total) and math.isfinite(queued)):  # `max` below would swallow a NaN
            raise ValueError(f"Serve counts {total!r} requests, {queued!r} of them queued")
        waiting = max(queued, total - running * self._batch, 0.0)
        ongoing = max(0.0, total - waiting)
        forecast = _middle(told.get(FORECAST))
        return ScalingContext(
            now_s=ctx.current_time,
            rule=replace(
                self._rule,
                min_replicas=ctx.capacity_adjusted_min_replicas,
                max_replicas=ctx.capacity_adjusted_max_replicas,
            ),
            replicas=ctx.target_num_replicas,
            running=running,
            forecast_per_s=ongoing / service_s if forecast is None else forecast,
            service_s=service_s,
            batch=self._batch,
            waiting=waiting,
            ongoing=ongoing,
            state=_state(ctx.policy_state),
        )

    def _as_now(self, ctx: AutoscalingContext) -> int:
        try:
            present = ctx.target_num_replicas
        except Exception as error:  # noqa: BLE001 - as above
            self._record(error)
            return self._present
        if type(present) is int and 0 <= present <= _MOST_BELIEVED:
            self._present = present
        return self._present

    def _record(self, error: Exception) -> None:
        """The loop turns ten times a second: a fault that lasts is logged at its 1st, 10th, 100th ... turn."""
        self._faults += 1
        if math.log10(self._faults).is_integer():
            logger.warning("scaling policy: replicas stay as they are (%d in a row): %r", self._faults, error)


def _middle(told: Mapping[Any, Any] | None) -> float | None:
    """The median over replicas, which one that is stale or wrong does not move; None where nothing sound was told."""
    sound = [value for value in (told or {}).values() if isinstance(value, int | float) and 0 <= value < math.inf]
    return float(median(sound)) if sound else None


def _state(kept: Mapping[str, Any] | None) -> ScalingState:
    """What the last call handed on; a fresh one where that cannot be read."""
    ours = (kept or {}).get(_STATE)
    if not isinstance(ours, Mapping):
        return ScalingState()
    since = {name: ours.get(name) for name in ("above_since_s", "below_since_s", "idle_since_s")}
    sound = {name: value if isinstance(value, int | float) else None for name, value in since.items()}
    peak = ours.get("below_peak")
    return ScalingState(**sound, below_peak=peak if isinstance(peak, int) else 0)
