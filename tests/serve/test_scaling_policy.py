"""Tests of the policy in Serve's form: with Serve's own context, with poisoned ones, and far from this tree."""

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from cluster.scaling import ScalingRule
from serve.scaling_policy import POLICY_PATH, ForecastScaling, policy_settings

RULE = ScalingRule(target_latency_s=3.0, downscale_delay_s=60.0, idle_after_s=120.0)
TIER = DeploymentID("tier", "flow")
REPLICAS = [ReplicaID(name, TIER) for name in "abc"]


def context(**changes: Any) -> AutoscalingContext:
    figures: dict[str, Any] = {
        "deployment_id": TIER,
        "deployment_name": "tier",
        "app_name": "flow",
        "current_num_replicas": 2,
        "target_num_replicas": 2,
        "running_replicas": REPLICAS[:2],
        "total_num_requests": 1.0,
        "total_queued_requests": 0.0,
        "aggregated_metrics": None,
        "raw_metrics": None,
        "capacity_adjusted_min_replicas": 0,
        "capacity_adjusted_max_replicas": 20,
        "policy_state": {},
        "last_scale_up_time": None,
        "last_scale_down_time": None,
        "current_time": 1000.0,
        "config": AutoscalingConfig(min_replicas=0, max_replicas=20, upscale_delay_s=0.0, downscale_delay_s=0.0),
    }
    return AutoscalingContext(**figures | changes)


def policy(**changes: Any) -> ForecastScaling:
    return ForecastScaling(**{"rule": asdict(RULE), "batch_service_s": 1.0} | changes)


def told(name: str, *values: float) -> dict[str, dict[ReplicaID, float]]:
    return {name: dict(zip(REPLICAS, values, strict=False))}


def raises(*_: object) -> Any:
    raise RuntimeError("poison")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2),
        ({"aggregated_metrics": told("forecast_per_s", 8.0, 8.0)}, 10),
        ({"aggregated_metrics": lambda: told("forecast_per_s", 8.0, 8.0)}, 10),  # Serve computes it when it is asked
        ({"aggregated_metrics": told("forecast_per_s", 8.0, 8.0, 1e9)}, 10),  # one is wrong
        ({"aggregated_metrics": told("forecast_per_s", float("nan"), 8.0)}, 10),
        ({"aggregated_metrics": told("forecast_per_s", 8.0) | told("batch_service_s", 2.0)}, 20),
        ({"aggregated_metrics": told("forecast_per_s", 100.0)}, 20),  # Serve's limit
        ({"aggregated_metrics": told("anything", 100.0)}, 2),
        ({"total_num_requests": 12.0, "total_queued_requests": 10.0}, 6),  # the queue alone
        ({"total_num_requests": 12.0, "total_queued_requests": 0.0}, 6),  # it waits inside the replicas
        ({"total_num_requests": 3.0, "total_queued_requests": 5.0}, 2),  # means over unlike windows
    ],
)
def test_policy_scales_on_the_forecast_or_else_on_the_queue(changes: dict[str, Any], expected: int) -> None:
    assert policy()(context(**changes))[0] == expected


def test_policy_keeps_its_state_in_serves() -> None:
    """Ours beside Serve's own keys: the wait before scaling down goes on from call to call."""
    ours = policy()
    _, state = ours(context(target_num_replicas=9, current_num_replicas=9))
    later = {**state, "__decision_counters": 3}
    assert ours(context(target_num_replicas=9, policy_state=later, current_time=1059.0))[0] == 9
    assert ours(context(target_num_replicas=9, policy_state=later, current_time=1061.0))[0] < 9


@pytest.mark.parametrize(
    "poison",
    [
        {"total_num_requests": raises},
        {"total_queued_requests": raises},
        {"aggregated_metrics": raises},
        {"total_num_requests": float("nan")},
        {"total_num_requests": float("inf")},
        {"total_num_requests": None},
        {"total_queued_requests": None},
        {"aggregated_metrics": 7},
        {"aggregated_metrics": {"forecast_per_s": 7}},
        {"current_time": None},
        {"current_time": float("nan")},
        {"current_num_replicas": -1},
        {"current_num_replicas": "2"},
        {"capacity_adjusted_max_replicas": 10**9},
        {"capacity_adjusted_max_replicas": -1},
        {"capacity_adjusted_min_replicas": None},
        {"policy_state": 3},
    ],
)
def test_policy_answers_the_present_number_where_anything_is_in_doubt(poison: dict[str, Any]) -> None:
    assert policy()(context(target_num_replicas=7, **poison)) == (7, {})


@pytest.mark.parametrize(
    "kept", [{"switchboard": 3}, {"switchboard": {"above_since_s": "x", "below_peak": None}}, None]
)
def test_policy_takes_a_state_that_cannot_be_read_for_none(kept: Any) -> None:
    assert policy()(context(policy_state=kept))[0] == 2


@pytest.mark.parametrize("present", [None, float("nan"), -1, True, 10**12, "7"])
def test_policy_answers_its_last_number_where_the_present_one_cannot_be_read(present: Any) -> None:
    ours = policy()
    assert ours(context(aggregated_metrics=told("forecast_per_s", 8.0)))[0] == 10
    assert ours(context(target_num_replicas=present, total_num_requests=raises)) == (10, {})


def test_policy_survives_a_fault_in_the_scaling_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.scaling_policy.scale", raises)
    assert policy()(context(target_num_replicas=7)) == (7, {})


def test_policy_survives_a_context_that_raises_at_every_touch() -> None:
    class Poisoned:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("poison")

    assert policy()(Poisoned()) == (1, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments", [{"rule": {"target_latency_s": -1.0}}, {"rule": 3}, {"rule": {"what": 1}}, {"batch_service_s": None}]
)
def test_policy_with_an_impossible_rule_leaves_replicas_as_they_are(arguments: dict[str, Any]) -> None:
    assert policy(**arguments)(context(target_num_replicas=7)) == (7, {})


def test_policy_without_any_arguments_leaves_replicas_as_they_are() -> None:
    assert ForecastScaling(what=3)(context(target_num_replicas=7)) == (7, {})


def test_policy_logs_a_lasting_fault_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    ours = policy()
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        logging.getLogger("ray.serve").addHandler(caplog.handler)
        try:
            for _ in range(150):
                ours(context(total_num_requests=raises))
        finally:
            logging.getLogger("ray.serve").removeHandler(caplog.handler)
    faults = {record.args[0] for record in caplog.records if isinstance(record.args, tuple)}
    assert faults == {1, 10, 100}
    assert "poison" in caplog.text


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(raises)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    poison=st.dictionaries(
        st.sampled_from(
            "current_num_replicas target_num_replicas total_num_requests total_queued_requests aggregated_metrics "
            "capacity_adjusted_min_replicas capacity_adjusted_max_replicas policy_state current_time".split()
        ),
        ANY,
    )
)
def test_policy_never_raises_and_answers_what_serve_can_take(poison: dict[str, Any]) -> None:
    replicas, state = policy()(context(**poison))
    assert type(replicas) is int
    assert 0 <= replicas <= 1_000_000
    assert isinstance(state, dict)


def in_serve(**rule: Any) -> Callable[[AutoscalingContext], tuple[int, dict[str, Any]]]:
    """The policy as Serve resolves and wraps it, from its import path."""
    named = AutoscalingPolicy(**policy_settings(ScalingRule(target_latency_s=3.0, **rule), batch_service_s=1.0))
    return _apply_autoscaling_config(_resolve_policy_callable(named))


def test_serve_resolves_the_policy_by_its_path_and_wraps_it() -> None:
    replicas, state = in_serve()(context(aggregated_metrics=told("forecast_per_s", 8.0)))
    assert (replicas, "switchboard" in state) == (10, True)


def test_serves_wrapper_takes_what_the_policy_answers_in_doubt() -> None:
    """Serve reads `total_num_requests` itself at zero replicas only, so here the fault is in the metrics."""
    assert in_serve()(context(target_num_replicas=7, aggregated_metrics=raises))[0] == 7


def test_serve_brings_an_idle_tier_to_zero_by_the_policy() -> None:
    ask = in_serve(min_replicas=0, idle_after_s=100.0, downscale_delay_s=20.0)
    present, state, seen = 3, {}, []
    for now_s in range(1000, 1200, 10):
        idle = {"total_num_requests": 0.0, "current_num_replicas": present, "target_num_replicas": present}
        present, state = ask(context(**idle, current_time=float(now_s), policy_state=state))
        seen.append(present)
    assert seen == [3, 3] + [1] * 8 + [0] * 10


def test_policy_arrives_by_value_where_this_tree_is_not(tmp_path: Path) -> None:
    """The controller unpickles it without the application's `working_dir`."""
    named = AutoscalingPolicy(**policy_settings(RULE, batch_service_s=1.0))
    (tmp_path / "policy").write_bytes(named.get_serialized_policy_def() or b"")
    code = """
import pickle, sys
from types import SimpleNamespace
ours = pickle.load(open("policy", "rb"))(rule={"target_latency_s": 3.0}, batch_service_s=1.0)
told = SimpleNamespace(
    current_num_replicas=2, target_num_replicas=2, total_num_requests=2.0, total_queued_requests=0.0, current_time=1.0,
    capacity_adjusted_min_replicas=0, capacity_adjusted_max_replicas=20, policy_state={},
    aggregated_metrics={"forecast_per_s": {"a": 8.0}},
)
assert not [name for name in sys.modules if name.startswith(("cluster", "serve"))]
print(ours(told)[0])
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout.strip(), done.returncode) == ("10", 0), done.stderr
    assert POLICY_PATH == "serve.scaling_policy:ForecastScaling"
