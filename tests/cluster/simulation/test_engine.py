"""Tests of the event loop: against queueing theory, for determinism, limits, deadlines, starts and stops."""

from array import array
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from cluster.erlang import waiting_probability
from cluster.errors import ImpossibleTraffic
from cluster.simulation.engine import Simulation, simulate
from cluster.simulation.report import Outcome, TierOutcome
from cluster.simulation.routers import FixedShares, TierView
from cluster.simulation.scalers import FixedReplicas, Scaler, Seen
from cluster.simulation.tiers import ServiceTime, TierModel
from cluster.simulation.traffic import steady

WARM_UP_S = 200.0


def run(model: TierModel, rate_per_s: float, requests: int, seed: int = 1, **changes: object) -> TierOutcome:
    """One tier with a fixed number of replicas under steady traffic."""
    arrivals_s = steady(rate_per_s, requests / rate_per_s).arrivals_s(seed)
    setting = Simulation((model,), FixedShares([1.0]), (FixedReplicas(model.initial_replicas),), seed, tick_s=10.0)
    return simulate(replace(setting, measure_from_s=WARM_UP_S, **changes), arrivals_s).tiers[0]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# A mean over 40,000 requests is itself random. Over 12 seeds its deviation was 2.3 to 4.2 % of the wait, that of the
# share that waits 0.5 to 1.3 %, and their means were within two standard errors of the theory. Of ten servers it is
# more, as busy spells are long: 6 %.
ERROR = 0.1


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waits_of_one_exponential_server_are_those_of_m_m_1(load: float) -> None:
    tier = run(TierModel("tier", ServiceTime(1.0, shape="exponential")), load, 40_000)
    assert mean(tier.waits_s) == pytest.approx(load / (1 - load), rel=ERROR)
    assert mean(tier.latencies_s) == pytest.approx(1 / (1 - load), rel=ERROR)
    assert mean([wait > 0 for wait in tier.waits_s]) == pytest.approx(load, rel=0.04)


def test_waits_of_one_constant_server_are_those_of_m_d_1() -> None:
    """Pollaczek and Khinchine: half of what an exponential server's callers wait."""
    tier = run(TierModel("tier", ServiceTime(1.0)), 0.7, 40_000)
    assert mean(tier.waits_s) == pytest.approx(0.7 / (2 * 0.3), rel=ERROR)


def test_waits_of_one_lognormal_server_are_those_of_m_g_1() -> None:
    """Pollaczek and Khinchine: (1 + deviation^2) / 2 of an exponential server's."""
    tier = run(TierModel("tier", ServiceTime(1.0, shape="lognormal", deviation=0.5)), 0.6, 40_000)
    assert mean(tier.waits_s) == pytest.approx(1.25 / 2 * 0.6 / 0.4, rel=ERROR)
    assert mean(tier.latencies_s) - mean(tier.waits_s) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(("servers", "rate_per_s"), [(2, 1.4), (10, 8.0)])
def test_waits_of_several_servers_are_those_of_m_m_c(servers: int, rate_per_s: float) -> None:
    model = TierModel("tier", ServiceTime(1.0, shape="exponential"), initial_replicas=servers)
    tier = run(model, rate_per_s, 40_000)
    waits = waiting_probability(rate_per_s, 1.0, servers)
    assert mean([wait > 0 for wait in tier.waits_s]) == pytest.approx(waits, rel=0.05)
    assert mean(tier.waits_s) == pytest.approx(waits / (servers - rate_per_s), rel=1.5 * ERROR)


def test_throughput_of_full_batches_is_their_size_over_their_time() -> None:
    """More demand than one replica can draw, and a deadline: what is drawn comes in full batches."""
    model = TierModel("tier", ServiceTime(1.0, more_s=0.25), batch=5)
    tier = run(model, 5.0, 5_000, deadline_s=20.0, grace_s=0.0)
    assert model.capacity_per_s == 2.5
    assert len(tier.latencies_s) / (1000.0 - 20.0 - WARM_UP_S) == pytest.approx(2.5, rel=0.02)  # all wait 20 s
    assert tier.expired > 0.4 * tier.requests
    assert max(tier.waits_s) <= 20.0


def test_requests_before_the_measured_time_are_served_and_not_counted() -> None:
    model = TierModel("tier", ServiceTime(3.0), queue_limit=2)
    setting = Simulation((model,), FixedShares([1.0]), (FixedReplicas(1),), seed=1, measure_from_s=5.0, deadline_s=20.0)
    tier = simulate(setting, [1.0, 2.0, 3.0, 3.5, 8.0]).tiers[0]
    assert list(tier.waits_s) == [2.0]  # behind three of those before; the fourth was refused
    assert (list(tier.latencies_s), tier.requests, tier.refused) == ([5.0], 1, 0)


def test_a_batch_waits_for_others_no_longer_than_it_may() -> None:
    model = TierModel("tier", ServiceTime(0.1), batch=4, batch_wait_s=0.5)
    setting = Simulation((model,), FixedShares([1.0]), (FixedReplicas(1),), seed=1)
    tier = simulate(setting, [10.0, 10.2, 30.0, 30.1, 30.2, 30.3]).tiers[0]
    assert list(tier.latencies_s) == pytest.approx(sorted([0.6, 0.4, 0.4, 0.3, 0.2, 0.1]))


def test_requests_beyond_the_queue_limit_go_elsewhere_and_then_nowhere() -> None:
    models = [TierModel(name, ServiceTime(100.0), queue_limit=2) for name in ("first", "second")]
    setting = Simulation(models, FixedShares([1.0, 0.0]), (FixedReplicas(1), FixedReplicas(1)), seed=1)
    first, second = simulate(setting, [1.0, 2.0, 3.0, 4.0, 5.0]).tiers
    assert (len(first.latencies_s), first.refused, second.requests) == (3, 2, 0)
    setting = replace(setting, router=FixedShares([1.0 - 1e-12, 1e-12]))
    first, second = simulate(setting, [float(number) for number in range(1, 9)]).tiers
    assert (len(first.latencies_s), first.refused, len(second.latencies_s)) == (3, 2, 3)


class Steps:
    """A scaler that follows a list of (from when, how many), and notes what it was shown."""

    def __init__(self, *steps: tuple[float, int]) -> None:
        self._steps, self.seen = steps, array("d")

    def decide(self, now: Seen, running: int, target: int) -> int:
        self.seen.append(running)
        return [replicas for from_s, replicas in self._steps if now.at_s >= from_s][-1]


def with_steps(model: TierModel, arrivals_s: Sequence[float], *steps: tuple[float, int]) -> TierOutcome:
    scaler: Scaler = Steps(*steps)
    return simulate(Simulation((model,), FixedShares([1.0]), (scaler,), seed=1), arrivals_s).tiers[0]


def test_a_replica_serves_once_it_has_started_and_costs_from_its_order() -> None:
    model = TierModel("tier", ServiceTime(1.0), startup_s=30.0, initial_replicas=0, target_latency_s=5.0)
    tier = with_steps(model, [10.0, 60.0, 99.0], (0.0, 0), (10.0, 1))
    assert list(tier.latencies_s) == pytest.approx([1.0, 1.0, 31.0])
    assert (tier.late, tier.violations, tier.first_images_s) == (1, 1, (31.0,))
    assert tier.replica_seconds == pytest.approx(100.0 - 10.0)


def test_a_replica_that_is_not_needed_stops_before_it_started_or_after_its_batch() -> None:
    model = TierModel("tier", ServiceTime(20.0), startup_s=30.0, initial_replicas=1)
    tier = with_steps(model, [5.0, 90.0], (0.0, 1), (10.0, 3), (15.0, 0), (60.0, 1))
    assert list(tier.latencies_s) == pytest.approx([20.0, 20.0])  # the first was let to finish
    # The first to 25, two more from 10 to 15, one from 60 to the end at 110.
    assert tier.replica_seconds == pytest.approx(25.0 + 2 * 5.0 + 50.0)


def test_what_is_never_served_is_counted() -> None:
    model = TierModel("tier", ServiceTime(1.0), initial_replicas=0)
    outcome = simulate(Simulation((model,), FixedShares([1.0]), (FixedReplicas(0),), seed=1, grace_s=50.0), [1.0, 2.0])
    assert (outcome.requests, outcome.tiers[0].expired, outcome.tiers[0].violations) == (2, 2, 2)


def two_tiers(seed: int) -> Outcome:
    models = [
        TierModel("small", ServiceTime(0.1, shape="lognormal", deviation=0.3), initial_replicas=2),
        TierModel("large", ServiceTime(1.0, shape="exponential"), initial_replicas=3, batch=2),
    ]
    setting = Simulation(models, FixedShares([0.8, 0.2]), (FixedReplicas(2), FixedReplicas(3)), seed)
    return simulate(setting, steady(5.0, 400.0).arrivals_s(seed))


def test_one_seed_gives_one_outcome_and_another_another() -> None:
    assert two_tiers(1) == two_tiers(1)
    assert two_tiers(1).figures()["p95_s"] != two_tiers(2).figures()["p95_s"]


def test_no_request_is_lost_or_counted_twice() -> None:
    outcome = two_tiers(3)
    assert outcome.requests == len(steady(5.0, 400.0).arrivals_s(3))
    shares = {name: tier["share"] for name, tier in outcome.figures()["tiers"].items()}
    assert shares == pytest.approx({"small": 0.8, "large": 0.2}, abs=0.03)


def test_forecasts_are_of_probabilities_and_not_of_draws() -> None:
    """The router knows what it expected: with all mass on a tier's share, its demand is that share of arrivals."""

    class Seesaw:
        def route(self, now_s: float, tiers: Sequence[TierView], rng: Random) -> tuple[int, Sequence[float]]:
            return 0, (0.75, 0.25)

    models = [TierModel(name, ServiceTime(0.1)) for name in ("one", "other")]
    setting = Simulation(models, Seesaw(), (FixedReplicas(1), FixedReplicas(1)), seed=1)
    one, other = simulate(setting, [0.5 + second for second in range(100)]).tiers
    assert [moment.demand_per_s for moment in one.moments[1:90]] == pytest.approx([0.75] * 89)
    assert [moment.demand_per_s for moment in other.moments[1:90]] == pytest.approx([0.25] * 89)
    assert other.requests == 0


def test_every_tier_needs_a_scaler() -> None:
    model = TierModel("tier", ServiceTime(1.0))
    with pytest.raises(ImpossibleTraffic, match="1 tiers with 2 scalers"):
        simulate(Simulation((model,), FixedShares([1.0]), (FixedReplicas(1), FixedReplicas(1)), seed=1), [1.0])
