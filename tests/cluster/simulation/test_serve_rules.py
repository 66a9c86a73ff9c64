"""Serve's policy as pure functions, held to the installed Ray: the same answers over random histories."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve import autoscaling_policy
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from cluster.simulation.serve_rules import (
    ServeSettings,
    ServeState,
    bounded,
    cold_start_replicas,
    held_back,
    queue_length_replicas,
)

TIER = DeploymentID("tier", "app")
SETTINGS = st.builds(
    lambda least, more, **rest: ServeSettings(min_replicas=least, max_replicas=max(1, least + more), **rest),
    least=st.integers(0, 3),
    more=st.integers(0, 30),
    target_ongoing_requests=st.sampled_from([0.5, 1.0, 2.0, 5.0]),
    upscale_delay_s=st.sampled_from([0.0, 10.0, 30.0]),
    downscale_delay_s=st.sampled_from([0.0, 20.0, 600.0]),
    downscale_to_zero_delay_s=st.none() | st.sampled_from([0.0, 50.0]),
    upscaling_factor=st.sampled_from([0.3, 1.0, 2.0]),
    downscaling_factor=st.sampled_from([0.3, 1.0]),
)
TURNS = st.lists(
    st.tuples(st.floats(0, 40), st.integers(0, 40), st.just(0.0) | st.floats(0, 100)), min_size=1, max_size=25
)
QUICK = ServeSettings(0, 30, upscale_delay_s=0.0, downscale_delay_s=0.0, downscale_to_zero_delay_s=50.0)


def of_ray(turns: list[tuple[float, int, float]], given_settings: ServeSettings) -> list[int]:
    """Serve's default policy in its own wrapper, and bounds as `DeploymentAutoscalingState` applies them."""
    config = AutoscalingConfig(**asdict(given_settings))
    policy = autoscaling_policy._apply_autoscaling_config(autoscaling_policy._core_replica_queue_length_policy)
    state: dict[str, Any] = {}
    target, now_s, answers = bounded(1, given_settings), 0.0, []
    clock = pytest.MonkeyPatch()
    for elapsed_s, running, total in turns:
        now_s += elapsed_s
        clock.setattr(autoscaling_policy.time, "time", lambda now_s=now_s: now_s)
        context = AutoscalingContext(
            TIER,
            "tier",
            "app",
            running,
            target,
            [],
            total,
            0.0,
            None,
            None,
            0,
            0,
            dict(state),
            None,
            None,
            now_s,
            config,
        )
        try:
            decided, state = policy(context)
        finally:
            clock.undo()
        target = bounded(decided, given_settings)
        answers.append(target)
    return answers


def of_ours(turns: list[tuple[float, int, float]], given_settings: ServeSettings) -> list[int]:
    state, target, now_s, answers = ServeState(), bounded(1, given_settings), 0.0, []
    for elapsed_s, running, total in turns:
        now_s += elapsed_s
        cold = cold_start_replicas(running, target, total, given_settings)
        if cold is None:
            desired = queue_length_replicas(running, target, total, given_settings)
            cold, state = held_back(desired, running, target, now_s, given_settings, state)
        target = cold
        answers.append(target)
    return answers


@settings(deadline=None, max_examples=100)
@given(turns=TURNS, given_settings=SETTINGS)
def test_rules_answer_as_the_installed_serve(
    turns: list[tuple[float, int, float]], given_settings: ServeSettings
) -> None:
    assert of_ours(turns, given_settings) == of_ray(turns, given_settings)


def test_rules_go_to_zero_as_the_installed_serve_does_only_from_one() -> None:
    turns = [(10.0, 5, 9.0), *[(20.0, 5, 0.0)] * 5]
    assert of_ours(turns, QUICK) == of_ray(turns, QUICK) == [5, 1, 1, 1, 1, 0]


def test_rules_get_unstuck_as_the_installed_serve_does() -> None:
    """A small factor and a small difference round to no change; Serve then takes one off."""
    slow = replace(QUICK, downscaling_factor=0.3)
    turns = [(10.0, 5, 10.0), (10.0, 5, 8.0), (10.0, 4, 6.0)]
    assert of_ours(turns, slow) == of_ray(turns, slow) == [5, 4, 3]


def test_defaults_are_those_of_the_installed_serve() -> None:
    theirs = AutoscalingConfig()
    for name, value in asdict(ServeSettings()).items():
        if name.endswith("scaling_factor"):
            value = {1.0: None}[value]  # Serve's None means 1
        assert getattr(theirs, name) == value, name
