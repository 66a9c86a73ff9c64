"""Tests of the scaling function: a fake clock, no cluster."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ClusterError, ImpossibleContext
from cluster.resources import ScalingLimits
from cluster.scaling import ScalingContext, ScalingState, required_replicas, scale

LIMITS = ScalingLimits(min_replicas=1, max_replicas=8, upscale_delay_s=10.0, downscale_delay_s=60.0)


def context(**changes: object) -> ScalingContext:
    base = ScalingContext(now_s=1000.0, replicas=1, demand_per_s=1.0, service_s=0.5, limits=LIMITS)
    return replace(base, **changes)


def run(start: ScalingContext, demands: list[float], step_s: float) -> list[int]:
    """The target after each step of a fake clock."""
    targets = []
    now = start
    for demand_per_s in demands:
        now = replace(now, demand_per_s=demand_per_s)
        replicas, state = scale(now)
        targets.append(replicas)
        now = replace(now, now_s=now.now_s + step_s, replicas=replicas, state=state)
    return targets


@pytest.mark.parametrize(
    ("demand_per_s", "service_s", "utilisation", "expected"),
    [
        (0.0, 1.0, 0.7, 0),
        (1e-15, 1e-3, 0.7, 1),  # any demand needs one
        (7.0, 0.1, 0.7, 1),  # exactly one, but for rounding
        (7.1, 0.1, 0.7, 2),
        (4.0, 1.0, 0.5, 8),
        (1e300, 1e300, 0.7, 8),  # overflows to infinity
    ],
)
def test_required_replicas_is_work_over_utilisation(
    demand_per_s: float, service_s: float, utilisation: float, expected: int
) -> None:
    given_context = context(demand_per_s=demand_per_s, service_s=service_s, target_utilisation=utilisation)
    assert required_replicas(given_context) == expected


def test_scale_waits_for_the_upscale_delay_then_goes_to_the_need() -> None:
    targets = run(context(service_s=1.0), [2.8, 2.8, 2.8, 2.8], step_s=5.0)
    assert targets == [1, 1, 4, 4]


def test_scale_forgets_a_short_burst() -> None:
    targets = run(context(service_s=1.0), [2.8, 0.5, 2.8, 2.8, 0.5], step_s=5.0)
    assert targets == [1, 1, 1, 1, 1]


def test_scale_goes_down_to_the_peak_of_the_delay_and_not_to_its_dip() -> None:
    demands = [2.0] + [0.1] * 6  # 3 replicas were still needed when the wait began
    targets = run(context(service_s=1.0, replicas=6), demands, step_s=10.0)
    assert targets == [6, 6, 6, 6, 6, 6, 3]


def test_scale_goes_to_zero_only_where_the_limits_allow_it() -> None:
    idle = [0.0] * 3
    patient = LIMITS.model_copy(update={"downscale_delay_s": 10.0})
    assert run(context(replicas=2, limits=patient), idle, step_s=10.0)[-1] == 1
    to_zero = patient.model_copy(update={"min_replicas": 0})
    assert run(context(replicas=2, limits=to_zero), idle, step_s=10.0)[-1] == 0


def test_scale_obeys_new_limits_at_once() -> None:
    assert scale(context(replicas=20, demand_per_s=100.0, service_s=1.0))[0] == 8
    higher = ScalingLimits(min_replicas=3, max_replicas=8)
    assert scale(context(replicas=1, limits=higher))[0] == 3


def test_scale_starts_its_wait_anew_after_the_clock_went_back() -> None:
    state = ScalingState(above_since_s=5000.0)
    replicas, after = scale(context(demand_per_s=10.0, state=state))
    assert (replicas, after.above_since_s) == (1, 1000.0)


@given(
    demands=st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    replicas=st.integers(0, 50),
    step_s=st.floats(0, 1000),
)
def test_scale_never_leaves_its_limits(demands: list[float], replicas: int, step_s: float) -> None:
    targets = run(context(replicas=replicas), demands, step_s)
    assert all(LIMITS.min_replicas <= target <= LIMITS.max_replicas for target in targets)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"demand_per_s": float("nan")}, "demand_per_s"),
        ({"service_s": float("inf")}, "service_s"),
        ({"demand_per_s": -1.0}, "demand_per_s"),
        ({"replicas": -1}, "replicas"),
        ({"target_utilisation": 0.0}, "target_utilisation"),
    ],
)
def test_context_refuses_impossible_figures(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ImpossibleContext, match=named) as caught:
        context(**changes)
    assert isinstance(caught.value, ClusterError)
