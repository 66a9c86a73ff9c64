from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bandit.context import Context, Decision, Record
from bandit.errors import BadState, NoArmAvailable
from bandit.features import extract
from bandit.fixed import FixedOptions, FixedPolicy
from bandit.simulation import ARMS

CONTEXT = Context(extract("a cat"), ARMS)
CLOSED = tuple(replace(arm, available=False) for arm in ARMS)


def record() -> Record:
    return Record("1", CONTEXT, Decision("flow@full", 1.0, {}), "flow@full", 0.5, 0.025, 0.9)


def test_decide_always_takes_its_arm() -> None:
    policy = FixedPolicy(FixedOptions("flow@full"))
    rng = Random(0)
    assert {policy.decide(CONTEXT, rng).arm for _ in range(200)} == {"flow@full"}
    assert policy.decide(CONTEXT, rng).propensity == 1.0


def test_decide_mixes_a_floor_where_one_is_asked_for() -> None:
    decision = FixedPolicy(FixedOptions("flow@full", floor=0.3)).decide(CONTEXT, Random(0))
    assert decision.probabilities == pytest.approx({"gan@one": 0.1, "diffusion@20": 0.1, "flow@full": 0.8})


def test_decide_is_uniform_over_the_others_while_its_arm_is_away() -> None:
    context = Context(CONTEXT.features, (ARMS[0], ARMS[1], CLOSED[2]))
    decision = FixedPolicy(FixedOptions("flow@full")).decide(context, Random(0))
    assert decision.probabilities == {"gan@one": 0.5, "diffusion@20": 0.5, "flow@full": 0.0}


def test_decide_raises_where_no_arm_is_available() -> None:
    with pytest.raises(NoArmAvailable):
        FixedPolicy(FixedOptions("flow@full")).decide(Context(CONTEXT.features, CLOSED), Random(0))


def test_restore_takes_its_own_state() -> None:
    policy, other = FixedPolicy(FixedOptions("flow@full")), FixedPolicy(FixedOptions("flow@full"))
    policy.learn(record())
    assert policy.state() != other.state()
    other.restore(policy.state())
    assert other.state() == policy.state()


def test_restore_refuses_the_state_of_another_arm() -> None:
    with pytest.raises(BadState, match="gan@one"):
        FixedPolicy(FixedOptions("flow@full")).restore(FixedPolicy(FixedOptions("gan@one")).state())
