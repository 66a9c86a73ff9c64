from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bandit.context import Context, Decision, Limits, Record, Weights
from bandit.errors import BadContext, BadRecord, BadState
from bandit.features import extract
from bandit.policies import build
from bandit.policy import Policy
from bandit.simulation import ARMS

NAMES = ("epsilon_greedy", "linucb", "moving_average", "thompson")
QUALITY = {"gan@one": 0.3, "diffusion@20": 0.6, "flow@full": 0.9}
CONTEXT = Context(extract("two cats above a red car"), ARMS)

pytestmark = pytest.mark.parametrize("name", NAMES)


def taught(name: str, **options: object) -> Policy:
    """Every arm was seen, and the dearer the better."""
    policy = build(name, {"floor": 0.0, **options})
    for number in range(100):
        for arm in ARMS:
            drawn = Decision(arm.name, 1 / 3, {})
            policy.learn(Record(str(number), CONTEXT, drawn, arm.name, arm.service_s, arm.price_usd, QUALITY[arm.name]))
    return policy


def favourite(policy: Policy, context: Context) -> str:
    probabilities = policy.decide(context, Random(0)).probabilities
    assert max(probabilities.values()) > 0.9
    return max(probabilities, key=lambda arm: probabilities[arm])


def test_weights_prices_and_load_act_at_once(name: str) -> None:
    policy = taught(name)
    assert favourite(policy, CONTEXT) == "flow@full"
    assert favourite(policy, replace(CONTEXT, weights=Weights(1.0, cost_per_usd=1000.0))) == "gan@one"
    assert favourite(policy, replace(CONTEXT, weights=Weights(0.0, latency_per_s=1.0))) == "gan@one"
    dear = (*ARMS[:2], replace(ARMS[2], price_usd=1.0))
    assert favourite(policy, replace(CONTEXT, arms=dear, weights=Weights(1.0, 0.0, 6.0))) == "diffusion@20"
    busy = (*ARMS[:2], replace(ARMS[2], in_flight=50))
    assert favourite(policy, replace(CONTEXT, arms=busy, weights=Weights(1.0, 0.1))) == "diffusion@20"


def test_the_best_of_the_eligible_arms_is_chosen_under_a_limit(name: str) -> None:
    """Not the floor's uniform draw, which is what is left when the mass lies on an arm that may not be drawn."""
    policy = taught(name)
    assert favourite(policy, replace(CONTEXT, limits=Limits(cost_usd=0.01))) == "diffusion@20"
    assert favourite(policy, replace(CONTEXT, limits=Limits(latency_s=0.1))) == "gan@one"
    away = (*ARMS[:2], replace(ARMS[2], available=False))
    assert favourite(policy, replace(CONTEXT, arms=away)) == "diffusion@20"


def test_learned_latency_decides_what_meets_a_limit(name: str) -> None:
    policy = taught(name)
    for _ in range(200):
        policy.learn(Record("1", CONTEXT, Decision("flow@full", 0.3, {}), "flow@full", 0.05, 0.025, 0.9))
    assert favourite(policy, replace(CONTEXT, limits=Limits(latency_s=0.1))) == "flow@full"


def test_a_newcomer_is_taken_in_and_a_removed_arm_is_no_trouble(name: str) -> None:
    policy = taught(name)
    new = replace(ARMS[0], name="next@one")
    decision = policy.decide(replace(CONTEXT, arms=(*ARMS[1:], new)), Random(0))
    assert set(decision.probabilities) == {"diffusion@20", "flow@full", "next@one"}
    assert decision.predictions["next@one"].quality == 0.5


def test_features_of_another_length_are_refused(name: str) -> None:
    policy = taught(name)
    before = policy.state()
    longer = replace(CONTEXT, features=replace(CONTEXT.features, vector=(0.1, 0.2)))
    record = Record("7", longer, Decision("gan@one", 0.3, {}), "gan@one", 0.1, 0.001, 0.5)
    if name in ("linucb", "thompson"):
        with pytest.raises(BadContext):
            policy.decide(longer, Random(0))
        with pytest.raises(BadRecord, match="decision 7"):
            policy.learn(record)
        assert policy.state() == before
    else:
        policy.decide(longer, Random(0))
        policy.learn(record)


def test_a_state_of_another_of_these_policies_is_refused(name: str) -> None:
    for other in NAMES:
        if other != name:
            with pytest.raises(BadState, match="belongs to policy"):
                build(name).restore(build(other).state())
