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
    with pytest.raises(UnknownPolicy, match=r"'thompson'.*factored, fixed, uniform, vowpal"):
        build("thompson")


@pytest.mark.parametrize("name", NAMES)
def test_build_refuses_an_unknown_option_and_lists_the_allowed(name: str) -> None:
    with pytest.raises(UnknownPolicy, match=r"no option 'flor'; allowed: (none|.*floor.*)"):
        build(name, {**NEEDED.get(name, {}), "flor": 0.1})


def test_build_refuses_a_missing_option() -> None:
    with pytest.raises(UnknownPolicy, match="needs option 'arm'"):
        build("fixed")


@pytest.mark.parametrize("value", [-0.1, 1.1, nan, inf, "0.1", None, True])
@pytest.mark.parametrize("name", ["factored", "vowpal", "fixed"])
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


def test_options_are_frozen() -> None:
    policy = build("factored", {"floor": 0.1})
    with pytest.raises(FrozenInstanceError):
        policy.options.floor = 0.2  # type: ignore[attr-defined]
