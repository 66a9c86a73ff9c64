"""Tests of resources and limits as values, and of the dicts that Ray takes."""

import pytest
from pydantic import ValidationError

from cluster.resources import ScalingLimits, TierResources


def test_ray_actor_options_leaves_out_what_is_absent() -> None:
    assert TierResources(num_cpus=0.25).ray_actor_options() == {"num_cpus": 0.25, "num_gpus": 0.0}


def test_ray_actor_options_speaks_rays_words_and_bytes() -> None:
    resources = TierResources(
        num_gpus=0.5,
        accelerator_type="L4",
        label_selector={"ray.io/market-type": "spot"},
        memory_gib=1.5,
        custom={"bundle": 1.0},
    )
    assert resources.ray_actor_options() == {
        "num_cpus": 1.0,
        "num_gpus": 0.5,
        "accelerator_type": "L4",
        "label_selector": {"ray.io/market-type": "spot"},
        "memory": 1610612736,
        "resources": {"bundle": 1.0},
    }


def test_ray_actor_options_gives_fallbacks_as_ray_wants_them() -> None:
    resources = TierResources(
        num_gpus=1.0,
        label_selector={"ray.io/accelerator-type": "L4"},
        fallback_selectors=({"ray.io/accelerator-type": "in(A10G, A100)"},),
    )
    options = resources.ray_actor_options()
    assert options["fallback_strategy"] == [{"label_selector": {"ray.io/accelerator-type": "in(A10G, A100)"}}]
    assert resources.selectors() == (options["label_selector"], options["fallback_strategy"][0]["label_selector"])
    checks = pytest.importorskip("ray._common.ray_option_utils")
    checks.validate_actor_options(options, in_options=True)
    schema = pytest.importorskip("ray.serve.schema")
    assert schema.RayActorOptionsSchema(**options).fallback_strategy == options["fallback_strategy"]


def test_autoscaling_config_has_rays_keys() -> None:
    limits = ScalingLimits(min_replicas=0, max_replicas=3)
    assert limits.autoscaling_config() == {
        "min_replicas": 0,
        "max_replicas": 3,
        "target_ongoing_requests": 2.0,
        "upscale_delay_s": 30.0,
        "downscale_delay_s": 600.0,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"num_cpus": -1.0},
        {"num_cpus": float("nan")},
        {"num_gpus": 1.5},
        {"num_gpu": 1.0},
        {"memory_gib": 0.0},
        {"accelerator_type": "L4 "},
        {"custom": {"x": 0.0}},
        {"num_cpus": True},
        {"num_cpus": "1"},
        {"label_selector": {"ray.io/accelerator-type": "in("}},
        {"label_selector": {"-bad": "L4"}},
        {"fallback_selectors": ({"zone": "a"},)},
        {"label_selector": {"zone": "a"}, "fallback_selectors": ({},)},
    ],
)
def test_resources_refuse_what_cannot_be_reserved(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TierResources(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"min_replicas": 2, "max_replicas": 1},
        {"min_replicas": -1},
        {"max_replicas": 0},
        {"max_replicas": 1.0},
        {"upscale_delay_s": -1.0},
        {"target_ongoing_requests": 0.0},
    ],
)
def test_limits_refuse_what_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScalingLimits(**fields)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TierResources().num_cpus = 2.0
