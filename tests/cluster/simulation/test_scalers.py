"""Tests of scalers in the loop: what Serve's telemetry hides, the cold start, and ours against Serve's default."""

from dataclasses import replace
from itertools import pairwise

import pytest

from cluster.forecast import Forecast
from cluster.scaling import ScalingRule
from cluster.simulation.engine import Simulation, simulate
from cluster.simulation.report import TierOutcome
from cluster.simulation.routers import FixedShares
from cluster.simulation.scalers import ForecastScaler, Scaler, Seen, ServeDefault, Telemetry
from cluster.simulation.serve_rules import ServeSettings
from cluster.simulation.tiers import ServiceTime, TierModel
from cluster.simulation.traffic import Phase, Traffic

TIER = TierModel("flow", ServiceTime(2.0), startup_s=30.0, initial_replicas=8, target_latency_s=8.0, queue_limit=400)
RULE = ScalingRule(8.0, min_replicas=0, max_replicas=60, downscale_delay_s=120.0, idle_after_s=200.0, startup_s=30.0)
BURST = Traffic((Phase(0.0, 2.0), Phase(300.0, 16.0), Phase(700.0, 2.0)), 1200.0)
NAP = Traffic((Phase(0.0, 2.0), Phase(100.0, 0.0), Phase(800.0, 2.0)), 1200.0)


def run(scaler: Scaler, traffic: Traffic) -> TierOutcome:
    return simulate(Simulation((TIER,), FixedShares([1.0]), (scaler,), seed=1), traffic.arrivals_s(1)).tiers[0]


def seen(at_s: float, waiting: float) -> Seen:
    return Seen(at_s, waiting, 0.0, Forecast(at_s=at_s))


def test_telemetry_tells_a_mean_of_the_past_and_only_when_it_is_pushed() -> None:
    telemetry = Telemetry(look_back_s=10.0, push_s=10.0)
    told = [
        telemetry.see(seen(float(second), 0.0 if second < 15 else 10.0), 0.0, at_once=False)[0] for second in range(41)
    ]
    assert told[:20] == [0.0] * 20
    assert 0.0 < told[20] < 10.0
    assert told[20:30] == [told[20]] * 10
    assert told[30:] == [10.0] * 11
    assert telemetry.see(seen(41.0, 3.0), 0.0, at_once=True)[0] == 3.0


def test_ours_is_up_before_serves_default_and_costs_less() -> None:
    ours, default = run(ForecastScaler(RULE, TIER), BURST), run(ServeDefault(ServeSettings(0, 60)), BURST)
    (rise,) = BURST.rises()
    assert (ours.capacity_after_s(*rise) or 1e9) < (default.capacity_after_s(*rise) or 1e9)
    assert ours.violations < default.violations
    assert ours.replica_seconds < default.replica_seconds


def test_ours_goes_to_zero_and_comes_back_within_a_start() -> None:
    tier = run(ForecastScaler(RULE, TIER), NAP)
    # From the last request: what fades of the forecast, what Serve tells late, and `idle_after_s`.
    asleep = [moment.target for moment in tier.moments if 100.0 + 60.0 + 30.0 + 200.0 + 30.0 < moment.at_s < 800.0]
    assert set(asleep) == {0}
    assert tier.first_images_s == (pytest.approx(30.0 + 2.0, abs=2.0),)  # a start, an image, and the tick


def test_ours_without_a_forecast_follows_the_queue() -> None:
    tier = run(ForecastScaler(RULE, TIER, forecasts=False), BURST)
    (rise,) = BURST.rises()
    assert tier.capacity_after_s(*rise) is not None


def test_ours_does_not_flap_under_steady_traffic() -> None:
    """50 minutes at one rate, Poisson: no more changes than `downscale_delay_s` fits in (16 when this was written)."""
    calm = Traffic((Phase(0.0, 6.0),), 3600.0)
    tier = run(ForecastScaler(RULE, TIER), calm)
    targets = [moment.target for moment in tier.moments if moment.at_s > 600.0]
    assert sum(before != after for before, after in pairwise(targets)) <= 3000 / 120
    assert tier.violations < 0.05 * tier.requests


def test_ours_keeps_its_share_of_late_requests_under_steady_traffic() -> None:
    """What the rule promises, `late_share`, with times as M/M/c has them; 40 replicas would be twice what it takes."""
    tier = replace(TIER, service=ServiceTime(2.0, shape="exponential"), target_latency_s=10.0, initial_replicas=20)
    scaler = ForecastScaler(replace(RULE, target_latency_s=10.0), tier)
    traffic = Traffic((Phase(0.0, 8.0),), 3600.0)
    found = simulate(Simulation((tier,), FixedShares([1.0]), (scaler,), seed=2), traffic.arrivals_s(2)).tiers[0]
    assert sum(wait > 8.0 for wait in found.waits_s) <= 0.05 * found.requests
    assert found.replica_seconds < 30 * 3600
