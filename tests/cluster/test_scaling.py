"""Tests of the scaling function: a fake clock, no cluster."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ClusterError, ImpossibleContext
from cluster.scaling import ScalingContext, ScalingRule, ScalingState, is_idle, required_replicas, scale

RULE = ScalingRule(
    target_latency_s=3.0,
    min_replicas=1,
    max_replicas=40,
    upscale_delay_s=10.0,
    downscale_delay_s=60.0,
    idle_after_s=120.0,
)
TO_ZERO = replace(RULE, min_replicas=0)


def context(**changes: object) -> ScalingContext:
    base = ScalingContext(now_s=1000.0, rule=RULE, replicas=1, running=1, forecast_per_s=0.5, service_s=1.0)
    return replace(base, **changes)


def run(start: ScalingContext, forecasts: list[float], step_s: float) -> list[int]:
    """The target after each step of a fake clock; replicas start at once, and no queue forms."""
    targets, now = [], start
    for forecast_per_s in forecasts:
        now = replace(now, forecast_per_s=forecast_per_s)
        replicas, state = scale(now)
        targets.append(replicas)
        now = replace(now, now_s=now.now_s + step_s, replicas=replicas, running=replicas, state=state)
    return targets


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"forecast_per_s": 0.0}, 0),
        ({"forecast_per_s": 0.0, "waiting": 0.1}, 1),  # anything at all needs one
        ({"forecast_per_s": 0.0, "ongoing": 1.0}, 1),
        ({"forecast_per_s": 0.1}, 1),  # M/M/1, P(wait > 2 s) = 0.1 exp(-0.9 * 2) = 0.017
        ({"forecast_per_s": 0.5}, 2),  # of one: 0.5 exp(-0.5 * 2) = 0.18; of two: 0.1 exp(-3) = 0.005
        ({"forecast_per_s": 30.0}, 34),  # most_utilisation: 30 / 0.9
        ({"forecast_per_s": 20.0, "rule": replace(RULE, target_latency_s=1.0)}, 29),  # no wait: Erlang C alone
        ({"forecast_per_s": 30.0, "batch": 8}, 6),  # 3.75 at full batches
        ({"forecast_per_s": 1e300, "service_s": 1e300}, 40),  # overflows to infinity
        ({"forecast_per_s": 30.0, "capacity": 12}, 12),
        ({"forecast_per_s": 30.0, "capacity": 0}, 1),  # but not below the minimum
    ],
)
def test_required_replicas_keeps_the_share_of_late_requests(changes: dict[str, object], expected: int) -> None:
    assert required_replicas(context(**changes)) == expected


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (0.0, 2),
        (4.0, 2),  # two replicas clear 4 in the 2 s that may be waited: no trouble
        (10.0, 4),  # 6 more, within 3 s: 2 replicas
        (1e300, 40),
    ],
)
def test_required_replicas_works_off_what_would_be_late(waiting: float, expected: int) -> None:
    assert required_replicas(context(forecast_per_s=1.0, running=2, waiting=waiting)) == expected


def test_required_replicas_counts_on_what_will_wait_until_a_start_is_over() -> None:
    """One runs, one starts; 2/s more come than those two will serve, for 60 s."""
    slow = replace(RULE, startup_s=60.0, max_replicas=100)
    short = context(forecast_per_s=3.5, running=1, replicas=2, rule=slow)
    steady = required_replicas(replace(short, rule=replace(slow, startup_s=0.0)))
    assert required_replicas(short) == steady + math.ceil((2.0 * 60 - 1 * 2.0) / 3.0)
    limited = replace(slow, queue_limit=20)  # more than that never wait
    assert required_replicas(replace(short, rule=limited)) == steady + math.ceil((20 - 1 * 2.0) / 3.0)


def test_scale_waits_for_the_upscale_delay_then_goes_to_the_need() -> None:
    assert run(context(), [2.0, 2.0, 2.0, 2.0], step_s=5.0) == [1, 1, 4, 4]


def test_scale_forgets_a_short_burst() -> None:
    assert run(context(), [2.0, 0.1, 2.0, 2.0, 0.1], step_s=5.0) == [1, 1, 1, 1, 1]


def test_scale_goes_down_to_the_peak_of_the_delay_and_not_to_its_dip() -> None:
    demands = [1.0] + [0.1] * 6  # 2 replicas were still needed when the wait began
    assert run(context(replicas=6), demands, step_s=10.0) == [6, 6, 6, 6, 6, 6, 2]


def test_scale_leaves_a_difference_within_tolerance() -> None:
    patient = replace(RULE, downscale_delay_s=0.0)
    need = required_replicas(context(forecast_per_s=30.0))
    assert scale(context(forecast_per_s=30.0, replicas=need + 3, rule=patient))[0] == need + 3
    assert scale(context(forecast_per_s=30.0, replicas=need + 6, rule=patient))[0] == need


def test_scale_to_zero_waits_until_the_tier_was_idle_for_so_long() -> None:
    targets = run(context(replicas=3, rule=TO_ZERO), [0.0] * 14, step_s=10.0)
    assert targets == [3] * 6 + [1] * 6 + [0, 0]


def test_scale_keeps_the_minimum_of_an_idle_tier() -> None:
    assert run(context(replicas=3), [0.0] * 14, step_s=10.0)[-1] == 1


def test_scale_counts_idleness_anew_after_any_work() -> None:
    now = context(replicas=1, rule=TO_ZERO, forecast_per_s=0.0, state=ScalingState(idle_since_s=885.0))
    assert scale(replace(now, now_s=1005.0))[0] == 0
    busy_replicas, state = scale(replace(now, ongoing=1.0))
    assert (busy_replicas, state.idle_since_s) == (1, None)


@pytest.mark.parametrize("sign", [{"waiting": 1.0}, {"forecast_per_s": 0.5}, {"ongoing": 1.0}])
def test_scale_from_zero_is_at_once(sign: dict[str, float]) -> None:
    asleep = context(replicas=0, running=0, rule=TO_ZERO, forecast_per_s=0.0)
    assert scale(asleep)[0] == 0
    assert scale(replace(asleep, **sign))[0] >= 1


def test_scale_lets_a_tier_sleep_that_is_only_explored() -> None:
    """Exploration sends every tier a little; less than one request in `idle_after_s` is no reason to stay awake."""
    assert is_idle(context(forecast_per_s=0.008))
    assert not is_idle(context(forecast_per_s=0.009))


def test_scale_obeys_new_limits_at_once() -> None:
    assert scale(context(replicas=50, forecast_per_s=100.0))[0] == 40
    assert scale(context(replicas=1, rule=replace(RULE, min_replicas=3)))[0] == 3
    assert scale(context(replicas=30, forecast_per_s=100.0, capacity=20))[0] == 20


def test_scale_starts_its_wait_anew_after_the_clock_went_back() -> None:
    replicas, after = scale(context(forecast_per_s=10.0, state=ScalingState(above_since_s=5000.0)))
    assert (replicas, after.above_since_s) == (1, 1000.0)


FINITE = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
TIMES = st.floats(allow_nan=False, allow_infinity=False)
RULES = st.builds(
    lambda least, more, **figures: ScalingRule(min_replicas=least, max_replicas=max(1, least + more), **figures),
    least=st.integers(0, 30),
    more=st.integers(0, 100),
    target_latency_s=FINITE,
    upscale_delay_s=FINITE,
    downscale_delay_s=FINITE,
    idle_after_s=FINITE,
    startup_s=FINITE,
    queue_limit=st.none() | st.integers(0, 10**30),
    late_share=st.floats(0, 1, exclude_min=True),
    most_utilisation=st.floats(0, 1, exclude_min=True),
    tolerance=st.floats(0, 1, exclude_max=True),
)
CONTEXTS = st.builds(
    ScalingContext,
    now_s=TIMES,
    rule=RULES,
    replicas=st.integers(0, 10**30),
    running=st.integers(0, 10**30),
    forecast_per_s=FINITE,
    service_s=FINITE,
    batch=st.integers(1, 100_000),
    waiting=FINITE,
    ongoing=FINITE,
    capacity=st.none() | st.integers(0, 10**30),
    state=st.builds(
        ScalingState,
        above_since_s=st.none() | TIMES,
        below_since_s=st.none() | TIMES,
        below_peak=st.integers(0, 10**30),
        idle_since_s=st.none() | TIMES,
    ),
)


@settings(deadline=None, max_examples=200)
@given(given_context=CONTEXTS)
def test_scale_never_raises_and_never_leaves_its_limits(given_context: ScalingContext) -> None:
    """For every context that can be built, whatever its figures."""
    replicas, _ = scale(given_context)
    assert isinstance(replicas, int)
    assert given_context.rule.min_replicas <= replicas <= given_context.rule.max_replicas


@settings(deadline=None, max_examples=200)
@given(given_context=CONTEXTS, more=st.tuples(FINITE, FINITE, FINITE))
def test_required_replicas_never_fall_as_demand_grows(
    given_context: ScalingContext, more: tuple[float, float, float]
) -> None:
    largest = 1.7e308
    higher = replace(
        given_context,
        forecast_per_s=min(given_context.forecast_per_s + more[0], largest),
        waiting=min(given_context.waiting + more[1], largest),
        ongoing=min(given_context.ongoing + more[2], largest),
    )
    assert required_replicas(higher) >= required_replicas(given_context)


@settings(deadline=None, max_examples=20)
@given(mean_per_s=st.floats(0.5, 30), noise=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_scale_does_not_flap_under_noise(mean_per_s: float, noise: float, seed: int) -> None:
    """Stationary demand: one fall per `downscale_delay_s` at most, each followed by no more rises than it has steps."""
    rng, steps, step_s = random.Random(seed), 400, 5.0
    demands = [mean_per_s * (1 + noise * rng.uniform(-1, 1)) for _ in range(steps)]
    targets = run(context(replicas=10), demands, step_s)
    falls = [(before, after) for before, after in pairwise(targets) if after < before]
    rises = [(before, after) for before, after in pairwise(targets) if after > before]
    assert len(falls) <= steps * step_s / RULE.downscale_delay_s
    assert len(rises) <= sum(before - after for before, after in falls) + 40
    needs = {required_replicas(context(forecast_per_s=one)) for one in demands}
    assert all(min(10, *needs) <= target <= max(10, *needs) for target in targets)


def test_scale_stands_still_under_moderate_noise() -> None:
    """What the tolerance and the two delays are for: +-20 % around a mean moves nothing once the peak was seen."""
    rng = random.Random(1)
    targets = run(context(), [20.0 * rng.uniform(0.8, 1.2) for _ in range(5000)], step_s=5.0)
    changes = sum(before != after for before, after in pairwise(targets[100:]))
    assert changes <= 0.01 * 5000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"now_s": float("nan")}, "now_s"),
        ({"forecast_per_s": float("nan")}, "forecast_per_s"),
        ({"service_s": float("inf")}, "service_s"),
        ({"forecast_per_s": -1.0}, "forecast_per_s"),
        ({"waiting": -0.5}, "waiting"),
        ({"replicas": -1}, "replicas"),
        ({"capacity": -1}, "capacity"),
        ({"replicas": 10**400}, "replicas"),
        ({"batch": 0}, "batch"),
        ({"batch": 10**400}, "batch"),
    ],
)
def test_context_refuses_impossible_figures(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ImpossibleContext, match=named) as caught:
        context(**changes)
    assert isinstance(caught.value, ClusterError)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_latency_s": float("nan")},
        {"min_replicas": 41},
        {"min_replicas": -1},
        {"max_replicas": 0, "min_replicas": 0},
        {"max_replicas": 10**9},
        {"late_share": 0.0},
        {"most_utilisation": 1.5},
        {"tolerance": 1.0},
        {"startup_s": -1.0},
        {"queue_limit": -1},
    ],
)
def test_rule_refuses_what_cannot_be(fields: dict[str, float]) -> None:
    with pytest.raises(ImpossibleContext):
        replace(RULE, **fields)
