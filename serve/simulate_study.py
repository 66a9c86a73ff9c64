"""What is simulated: our scaling beside Serve's on one bursty trace, and a large cluster under the router."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import mean, stdev
from typing import Any

from bandit.context import ArmContext
from bandit.policy import Policy
from bandit.simulation import ARMS, MANY_CALLERS
from cluster.scaling import ScalingRule
from cluster.simulation.engine import Simulation, simulate
from cluster.simulation.report import Outcome
from cluster.simulation.routers import FixedShares
from cluster.simulation.scalers import ForecastScaler, Scaler, ServeDefault
from cluster.simulation.serve_rules import ServeSettings
from cluster.simulation.tiers import ServiceTime, TierModel
from cluster.simulation.traffic import Phase, Traffic, steady

from .simulate_routing import PolicyRouter, trained


@dataclass(frozen=True, slots=True)
class Case:
    """One tier under one trace, and the values of Serve's `target_ongoing_requests` that are tried on it."""

    tier: TierModel
    traffic: Traffic
    targets: tuple[float, ...]
    shown: float  # the one of them that does best, for the picture

    def scalers(self) -> dict[str, Callable[[], Scaler]]:
        """Name -> a fresh scaler: Serve's as shipped and tuned, ours without and with the router's forecast."""
        tier = self.tier
        rule = ScalingRule(
            target_latency_s=tier.target_latency_s,
            min_replicas=0,
            max_replicas=_MOST,
            downscale_delay_s=120.0,
            idle_after_s=300.0,
            startup_s=tier.startup_s,
            queue_limit=tier.queue_limit,
        )
        shipped = ServeSettings(0, _MOST)
        tuned = replace(
            shipped,
            look_back_period_s=12.0,
            upscale_delay_s=0.0,
            downscale_delay_s=120.0,
            downscale_to_zero_delay_s=300.0,
        )
        return {
            SHIPPED: lambda: ServeDefault(shipped),
            **{
                with_target(target): lambda target=target: ServeDefault(  # type: ignore[misc]
                    replace(tuned, target_ongoing_requests=target)
                )
                for target in self.targets
            },
            "ours, queue alone": lambda: ForecastScaler(rule, tier, forecasts=False),
            OURS: lambda: ForecastScaler(rule, tier),
        }

    def run(self, scaler: Scaler, seed: int) -> Outcome:
        """The trace of one seed under one scaler."""
        setting = Simulation((self.tier,), FixedShares([1.0]), (scaler,), seed, deadline_s=_DEADLINE_S)
        return simulate(setting, self.traffic.arrivals_s(seed))


def with_target(target: float) -> str:
    """The name of Serve's policy with our delays and look-back, and this target."""
    return f"Serve, our delays, target {target:g}"


def bursty(times: float) -> Traffic:
    """Bursts, a ramp both ways, a pause to zero, and a return; from 1 to 20 requests/s, times a number."""
    return Traffic(
        (
            Phase(0.0, 2.0 * times),
            Phase(900.0, 20.0 * times),
            Phase(1500.0, 2.0 * times),
            Phase(2400.0, 2.0 * times, 20.0 * times),
            Phase(3000.0, 20.0 * times, 2.0 * times),
            Phase(3600.0, 0.0),
            Phase(4800.0, 4.0 * times),
            Phase(5400.0, 1.0 * times),
        ),
        6600.0,
    )


SHIPPED, OURS = "Serve as shipped", "ours"
_MOST = 80  # replicas
_DEADLINE_S = 60.0
_TRAINING = 2000  # requests that a policy has learned from
_FULL = 0.8  # of the replicas asked for
CASES = {
    "single": Case(  # a large tier: one image at a time, a minute to start
        TierModel(
            "flow",
            ServiceTime(2.0, shape="lognormal", deviation=0.2),
            startup_s=60.0,
            startup_deviation=0.2,
            initial_replicas=6,
            target_latency_s=8.0,
            queue_limit=200,
        ),
        bursty(1.0),
        targets=(2.0, 1.0, 0.7),
        shown=0.7,
    ),
    "batches": Case(  # a medium tier: up to eight images at once
        TierModel(
            "diffusion",
            ServiceTime(1.0, more_s=0.1, shape="lognormal", deviation=0.2),
            batch=8,
            batch_wait_s=0.05,
            startup_s=30.0,
            startup_deviation=0.2,
            initial_replicas=4,
            target_latency_s=5.0,
            queue_limit=400,
        ),
        bursty(4.0),
        targets=(8.0, 5.6, 2.0, 0.7),
        shown=5.6,
    ),
}


def compare(
    case: Case, seeds: Sequence[int], say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Outcome]]:
    """A row for every scaler over all seeds, and the outcomes of the first seed."""
    rows, first = [], {}
    for name, make in case.scalers().items():
        say(name)
        outcomes = [case.run(make(), seed) for seed in seeds]
        first[name] = outcomes[0]
        rows.append({"scaler": name, **_means(case, outcomes)})
    return rows, first


def _means(case: Case, outcomes: Sequence[Outcome]) -> dict[str, float]:
    figures = [outcome.figures(case.traffic) for outcome in outcomes]
    keys = ("requests", "violation_share", "refused", "expired", "p50_s", "p95_s", "p99_s", "replica_seconds")
    start_s, end_s = case.traffic.rises()[0]
    # None, where capacity never came, counts as the whole burst.
    reached_s = [figure["tiers"][case.tier.name]["capacity_after_s"][0] for figure in figures]
    return {
        **{key: mean(figure[key] for figure in figures) for key in (*keys, "most_replicas")},
        "violation_share_deviation": stdev(figure["violation_share"] for figure in figures),
        "replica_seconds_deviation": stdev(figure["replica_seconds"] for figure in figures),
        "burst_to_capacity_s": mean(end_s - start_s if one is None else one for one in reached_s),
        "zero_to_first_image_s": mean(seconds for figure in figures for seconds in figure["first_images_s"][:1]),
    }


def large_cluster(replicas: int, requests: int, policy: str, seed: int) -> dict[str, Any]:
    """Three tiers under the router and our scaling, as many requests/s as fill `replicas` to 80 % while all is calm.

    Raises UnknownPolicy. `wall_s` and `processor_s` are of the simulation alone.
    """
    started_s, started_processor_s = time.perf_counter(), time.process_time()
    arms = [replace(arm, service_s=20 * arm.service_s) for arm in ARMS]  # of the size that needs a GPU: 0.4 to 10 s
    learned = trained(policy, _TRAINING, seed, arms)
    shares = _calm_shares(learned, arms, seed)
    each_s = sum(share * arm.service_s for share, arm in zip(shares, arms, strict=True))
    rate_per_s = _FULL * replicas / each_s
    tiers, scalers = [], []
    for arm, share in zip(arms, shares, strict=True):
        service = ServiceTime(arm.service_s, shape="lognormal", deviation=0.2)
        start = max(1, round(share * arm.service_s / each_s * replicas))
        target_s = 4 * arm.service_s
        tier = TierModel(
            arm.tier, service, startup_s=60.0, startup_deviation=0.2, initial_replicas=start, target_latency_s=target_s
        )
        rule = ScalingRule(target_s, 0, replicas, downscale_delay_s=120.0, startup_s=60.0)
        tiers.append(tier)
        scalers.append(ForecastScaler(rule, tier))
    router = PolicyRouter(learned, arms, tiers, MANY_CALLERS, seed)
    setting = Simulation(tiers, router, scalers, seed, deadline_s=120.0)
    outcome = simulate(setting, steady(rate_per_s, requests / rate_per_s).arrivals_s(seed))
    figures = outcome.figures()
    figures["rate_per_s"] = rate_per_s
    figures["mean_replicas"] = figures["replica_seconds"] / outcome.duration_s
    figures["duration_s"] = outcome.duration_s
    figures["wall_s"] = time.perf_counter() - started_s
    figures["processor_s"] = time.process_time() - started_processor_s
    return figures


def _calm_shares(policy: Policy, arms: Sequence[ArmContext], seed: int) -> list[float]:
    """What the policy sends to each tier, on average, while none of them is busy."""
    tiers = [TierModel(arm.tier, ServiceTime(arm.service_s)) for arm in arms]
    router = PolicyRouter(policy, arms, tiers, MANY_CALLERS, seed)
    rng, idle = Random(f"{seed} calm"), [_Idle()] * len(arms)
    drawn = [router.route(0.0, idle, rng)[1] for _ in range(_TRAINING)]
    return [mean(shares) for shares in zip(*drawn, strict=True)]


class _Idle:
    """A tier with one replica and nothing to do."""

    running, in_flight, has_room = 1, 0, True
