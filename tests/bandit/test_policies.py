from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import inf, nan

import pytest

from bandit.errors import UnknownPolicy
from bandit.policies import NAMES, build

NEEDED: dict[str, dict[str, object]] = {"fixed": {"arm": "gan@one"}}


@pytest.mark.parametrize("name", NAMES)
def test_build_makes_the_policy_of_that_name(name: str) -> None:
    policy = build(name, NEEDED.get(name))
    assert policy.name == name
    policy.restore(policy.state())


def test_build_refuses_an_unknown_name_and_lists_the_known() -> None:
    with pytest.raises(UnknownPolicy, match=r"'softmax'.*epsilon_greedy, factored, fixed, linucb, .*uniform, vowpal"):
        build("softmax")


@pytest.mark.parametrize("name", NAMES)
def test_build_refuses_an_unknown_option_and_lists_the_allowed(name: str) -> None:
    with pytest.raises(UnknownPolicy, match=r"no option 'flor'; allowed: (none|.*floor.*)"):
        build(name, {**NEEDED.get(name, {}), "flor": 0.1})


def test_build_refuses_a_missing_option() -> None:
    with pytest.raises(UnknownPolicy, match="needs option 'arm'"):
        build("fixed")


@pytest.mark.parametrize("value", [-0.1, 1.1, nan, inf, "0.1", None, True])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "uniform"])
def test_build_refuses_a_floor_that_is_no_share(name: str, value: object) -> None:
    with pytest.raises(UnknownPolicy, match="floor"):
        build(name, {**NEEDED.get(name, {}), "floor": value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("bits", 18.0), ("bits", 40), ("learning_rate", 0), ("gamma_scale", -1), ("features_schema", "words-9")],
)
def test_build_refuses_values_that_no_model_can_have(option: str, value: object) -> None:
    with pytest.raises(UnknownPolicy, match=option):
        build("factored", {option: value})


@pytest.mark.parametrize(
    ("policy", "option", "value", "allowed"),
    [
        ("vowpal", "exploration", "cover", "squarecb, epsilon, softmax, bag"),
        ("vowpal", "exploration", 1, "squarecb"),
        ("vowpal", "arm_features", "", "described, named"),
        ("vowpal", "bag_size", 1, "2 to 32"),
        ("vowpal", "softmax_lambda", nan, "0 to"),
        ("linucb", "ridge", 0, "0.001 to"),
        ("linucb", "buckets", 64.0, "a whole number"),
        ("thompson", "draws", 1, "16 to"),
        ("moving_average", "quality_share", 0.0, "1e-06 to 1"),
    ],
)
def test_build_refuses_and_says_what_is_allowed(policy: str, option: str, value: object, allowed: str) -> None:
    with pytest.raises(UnknownPolicy, match=rf"{option} .*allowed: .*{allowed}"):
        build(policy, {option: value})


def test_a_bag_needs_a_floor() -> None:
    """An arm that no model of the bag likes would have probability 0, and the log could never judge it."""
    with pytest.raises(UnknownPolicy, match=r"floor is 0\.0 with exploration 'bag'.*above 0"):
        build("vowpal", {"exploration": "bag", "floor": 0.0})


def test_options_are_frozen() -> None:
    policy = build("factored", {"floor": 0.1})
    with pytest.raises(FrozenInstanceError):
        policy.options.floor = 0.2  # type: ignore[attr-defined]
