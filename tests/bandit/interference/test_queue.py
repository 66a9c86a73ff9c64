from __future__ import annotations

from dataclasses import fields, replace
from math import factorial
from random import Random

import numpy as np
import pytest

from bandit.errors import BadTraffic
from bandit.interference.lockstep import simulate
from bandit.interference.outcomes import REFUSED, Labels
from bandit.interference.queue import serve
from bandit.interference.routing import Fixed, Greedy, PolicyRoute, Threshold
from bandit.interference.tiers import TIERS, Tier, halves
from bandit.interference.traffic import Requests, Traffic, draw
from bandit.policies import build


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def one_tier(replicas: int, **rest: int) -> tuple[Tier]:
    return (Tier("one", 1.0, replicas, easy=0.9, hard=0.8, **({"places": 400} | rest)),)


def nobody(requests: Requests) -> Labels:
    return np.zeros(requests.at_s.shape, dtype=np.int8)


def run_of(requests: Requests, run: int) -> Requests:
    return replace(requests, **{one.name: getattr(requests, one.name)[:, run : run + 1] for one in fields(requests)})


def erlang_wait_s(replicas: int, load: float) -> float:
    """Mean wait of M/M/c at a mean service of one second (Erlang C)."""
    offered = load * replicas
    last = offered**replicas / factorial(replicas) / (1 - load)
    waits = last / (sum(offered**k / factorial(k) for k in range(replicas)) + last)
    return waits / (replicas * (1 - load))


@pytest.mark.parametrize(("replicas", "load"), [(1, 0.5), (1, 0.8), (4, 0.7), (6, 0.9)])
def test_the_mean_wait_is_that_of_theory(replicas: int, load: float) -> None:
    requests = draw(Traffic(load * replicas, 2000.0 / replicas, service_cv=1.0), 300, rng())
    found = simulate(one_tier(replicas), requests, [Fixed(0)], nobody(requests))
    late = requests.at_s > 300.0 / replicas
    wait_s = np.mean(found.latency_s - requests.work, axis=0, where=late)
    error_s = wait_s.std(ddof=1) / len(wait_s) ** 0.5
    assert abs(wait_s.mean() - erlang_wait_s(replicas, load)) < 3.5 * error_s
    assert error_s < 0.05 * erlang_wait_s(replicas, load)


def test_a_bounded_queue_refuses_as_often_as_theory_says() -> None:
    """M/M/1/K: the share refused is (1 - r) r^K / (1 - r^(K + 1))."""
    load, places = 0.9, 5
    requests = draw(Traffic(load, 3000.0, service_cv=1.0), 200, rng())
    found = simulate(one_tier(1, places=places), requests, [Fixed(0)], nobody(requests))
    refused = found.tier == REFUSED
    assert refused.mean() == pytest.approx((1 - load) * load**places / (1 - load ** (places + 1)), rel=0.04)
    assert (found.utility[refused] == 0).all()
    assert (found.latency_s[refused] == 0).all()


@pytest.mark.parametrize("sees_own", [False, True])
def test_many_runs_at_once_are_what_each_is_event_by_event(sees_own: bool) -> None:
    """Bounded queues that fill, two policies, sessions: equal to the last bit, but for sums of another order."""
    tight = tuple(replace(tier, places=9) for tier in TIERS)
    requests = draw(Traffic(17.0, 120.0, session_requests=4.0, burst_factor=3.0), 3, rng())
    label = rng().integers(0, 2, requests.at_s.shape).astype(np.int8)
    routes = (Greedy(0.3), Threshold(6))
    together = simulate(tight, requests, routes, label, sees_own=sees_own)
    assert (together.tier == REFUSED).any()
    for run in range(3):
        alone = serve(tight, run_of(requests, run), routes, label[:, run : run + 1], sees_own=sees_own)
        assert (alone.tier[:, 0] == together.tier[:, run]).all()
        assert (alone.in_flight[:, 0] == together.in_flight[:, run]).all()
        assert alone.latency_s[:, 0] == pytest.approx(together.latency_s[:, run], abs=1e-9)
        assert alone.utility[:, 0] == pytest.approx(together.utility[:, run], abs=1e-9)


def test_batches_carry_a_load_that_would_drown_single_images() -> None:
    requests = draw(Traffic(3.0, 300.0), 1, rng())
    single = serve(one_tier(1, places=2000), requests, [Fixed(0)], nobody(requests))
    batched = serve(one_tier(1, places=2000, batch=8), requests, [Fixed(0)], nobody(requests))
    assert single.latency_s[-100:].mean() > 100
    assert 1.0 < batched.latency_s.mean() < 4
    with pytest.raises(BadTraffic, match="batch"):
        simulate(one_tier(1, batch=8), requests, [Fixed(0)], nobody(requests))


@pytest.mark.parametrize("name", ["factored", "vowpal"])
def test_a_real_policy_learns_where_hard_prompts_are_drawn_well(name: str) -> None:
    requests = draw(Traffic(2.0, 500.0), 1, rng())
    found = serve(TIERS, requests, [PolicyRoute(build(name), Random(1))], nobody(requests))
    hard, late = requests.hardness[:, 0] > 0.5, requests.at_s[:, 0] > 250.0
    large = found.tier[:, 0] == 0
    assert large[:20].mean() < 0.8
    assert large[late & hard].mean() > 0.85
    assert (found.tier != REFUSED).all()


def test_a_real_policy_goes_by_the_live_load() -> None:
    """Untaught, `factored` knows no quality: what it prefers is the shorter wait."""
    tiers = (Tier("one", 1.0, 2, easy=0.9, hard=0.8), Tier("other", 1.0, 2, easy=0.9, hard=0.8))
    route = PolicyRoute(build("factored", {"gamma_scale": 1e6, "floor": 0.0}), Random(1), latency_per_s=0.5)
    assert {route.choose(tiers, (6, 0), (True, True), 0.5)[0] for _ in range(20)} == {1}
    assert {route.choose(tiers, (0, 6), (True, True), 0.5)[0] for _ in range(20)} == {0}
    assert {route.choose(tiers, (0, 6), (False, True), 0.5)[0] for _ in range(20)} == {1}


def test_a_real_policy_is_not_asked_where_all_is_full() -> None:
    requests = draw(Traffic(60.0, 20.0), 1, rng())
    tight = tuple(replace(tier, places=4) for tier in TIERS)
    found = serve(tight, requests, [PolicyRoute(build("uniform"), Random(1))], nobody(requests))
    assert (found.tier == REFUSED).mean() > 0.5
    assert set(np.unique(found.tier)) == {REFUSED, 0, 1}


def test_pools_keep_to_their_own_replicas() -> None:
    control, treatment = halves(TIERS)
    requests = draw(Traffic(12.0, 200.0), 4, rng())
    label = rng().integers(0, 2, requests.at_s.shape).astype(np.int8)
    found = simulate(control + treatment, requests, [Greedy(), Greedy()], label, pools=((0, 1), (2, 3)))
    assert (found.tier[label == 0] < 2).all()
    assert (found.tier[label == 1] >= 2).all()
    assert sum(tier.replicas for tier in control + treatment) == sum(tier.replicas for tier in TIERS)


def test_a_tier_that_cannot_be_parted_is_refused() -> None:
    with pytest.raises(BadTraffic, match="whole number of replicas"):
        halves(one_tier(3))
    with pytest.raises(BadTraffic, match="at least one"):
        halves(one_tier(1))


def test_greed_counts_the_wait_of_the_request_itself() -> None:
    tiers, worth = TIERS, np.array([0.85, 0.6])
    empty = Greedy().appeal(tiers, np.array([0, 0]), worth)
    crowded = Greedy().appeal(tiers, np.array([12, 0]), worth)
    assert empty == pytest.approx([0.85 - 0.05, 0.6 - 0.025])
    assert crowded == pytest.approx([0.85 - 4 * 0.05, 0.6 - 0.025])
    assert Greedy(caution=3.0).appeal(tiers, np.array([12, 0]), worth).argmax() == 1
