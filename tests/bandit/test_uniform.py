from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bandit.context import Context, Decision, Record
from bandit.errors import BadState, NoArmAvailable
from bandit.features import extract
from bandit.fixed import FixedOptions, FixedPolicy
from bandit.simulation import ARMS
from bandit.uniform import UniformPolicy

CONTEXT = Context(extract("a cat"), ARMS)


def test_decide_gives_every_available_arm_the_same_probability() -> None:
    context = Context(CONTEXT.features, (ARMS[0], replace(ARMS[1], available=False), ARMS[2]))
    decision = UniformPolicy().decide(context, Random(0))
    assert decision.probabilities == {"gan@one": 0.5, "diffusion@20": 0.0, "flow@full": 0.5}
    assert decision.propensity == 0.5


def test_decide_draws_every_arm() -> None:
    rng = Random(0)
    assert {UniformPolicy().decide(CONTEXT, rng).arm for _ in range(100)} == {arm.name for arm in ARMS}


def test_decide_raises_where_no_arm_is_available() -> None:
    with pytest.raises(NoArmAvailable):
        UniformPolicy().decide(Context(CONTEXT.features, ()), Random(0))


def test_restore_takes_its_own_state_only() -> None:
    policy, other = UniformPolicy(), UniformPolicy()
    policy.learn(Record("1", CONTEXT, Decision("gan@one", 1 / 3, {}), "gan@one", 0.02, 0.001, 0.9))
    assert policy.state() != other.state()
    other.restore(policy.state())
    assert other.state() == policy.state()
    with pytest.raises(BadState, match="fixed"):
        other.restore(FixedPolicy(FixedOptions("gan@one")).state())
    assert other.state() == policy.state()
