from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bandit.codec import context_from_json, features_to_json, weights_to_json
from bandit.context import ArmContext, Context, Limits, PromptFeatures, Weights
from bandit.errors import BadContext
from bandit.policies import build
from bandit.policy import eligible_arms
from bandit.validation import check_context

CHEAP = ArmContext("gan@one", "gan", "one", "gan", price_usd=0.001, service_s=0.1)
MEDIUM = ArmContext("diffusion@8", "diffusion", "8", "diffusion", price_usd=0.004, service_s=0.05)
DEAR = ArmContext("flow@full", "flow", "full", "flow", price_usd=0.025, service_s=0.5)
FEATURES = PromptFeatures("words-1", {"length": 0.1}, ("cat",))


def context(limits: Limits, *arms: ArmContext) -> Context:
    return Context(FEATURES, arms or (CHEAP, MEDIUM, DEAR), Weights(1.0), limits)


def names(limits: Limits, *arms: ArmContext, latency_s: dict[str, float] | None = None) -> list[str]:
    return [arm.name for arm in eligible_arms(context(limits, *arms), latency_s)]


def test_eligible_arms_are_all_without_limits() -> None:
    assert names(Limits()) == [CHEAP.name, MEDIUM.name, DEAR.name]


def test_eligible_arms_meet_both_limits() -> None:
    assert names(Limits(cost_usd=0.004)) == [CHEAP.name, MEDIUM.name]
    assert names(Limits(latency_s=0.1)) == [CHEAP.name, MEDIUM.name]
    assert names(Limits(latency_s=0.06, cost_usd=0.004)) == [MEDIUM.name]


def test_eligible_arms_when_none_is_fast_enough_is_the_fastest_within_the_cost() -> None:
    assert names(Limits(latency_s=0.01, cost_usd=0.003)) == [CHEAP.name]
    assert names(Limits(latency_s=0.01)) == [MEDIUM.name]


def test_eligible_arms_when_all_cost_more_is_the_cheapest() -> None:
    assert names(Limits(latency_s=0.06, cost_usd=0.0001)) == [CHEAP.name]


def test_eligible_arms_count_the_live_load_and_prefer_the_prediction() -> None:
    busy = replace(MEDIUM, in_flight=3)
    assert names(Limits(latency_s=0.15), CHEAP, busy) == [CHEAP.name]
    assert names(Limits(latency_s=0.15), CHEAP, busy, latency_s={CHEAP.name: 0.2, busy.name: 0.1}) == [busy.name]


@pytest.mark.parametrize("policy", ["factored", "vowpal", "uniform"])
def test_decide_never_draws_an_arm_beyond_the_limits(policy: str) -> None:
    rng = Random(0)
    one = build(policy)
    for _ in range(200):
        decision = one.decide(context(Limits(cost_usd=0.004)), rng)
        assert decision.probabilities[DEAR.name] == 0.0
        assert decision.arm != DEAR.name
        assert sum(decision.probabilities.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("limits", [Limits(latency_s=-1.0), Limits(cost_usd=float("nan")), Limits(cost_usd=1e12)])
def test_check_context_refuses_limits_that_cannot_be(limits: Limits) -> None:
    with pytest.raises(BadContext, match="limit"):
        check_context(context(limits), "words-1")


@pytest.mark.parametrize("limits", [Limits(), Limits(latency_s=0.3), Limits(0.3, 0.001)])
def test_limits_read_back_from_the_journal_as_written(limits: Limits) -> None:
    features = replace(FEATURES, vector=(0.25, -0.5))
    asked = weights_to_json(Weights(1.0, 0.1, 5.0), limits)
    read = context_from_json("words-1", features_to_json(features), [], asked)
    assert (read.limits, read.weights, read.features) == (limits, Weights(1.0, 0.1, 5.0), features)
