from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import mean

import pytest

from bandit.context import ArmContext, Context, Decision, Record, Weights
from bandit.factored import FactoredOptions, FactoredPolicy
from bandit.features import extract
from bandit.simulation import ARMS, MANY_CALLERS, MORE_ARMS, best_fixed, run

SIMPLE = extract("a cat")
COMPOSED = extract("a cat to the left of a dog")


@pytest.fixture(scope="module")
def trained() -> FactoredPolicy:
    policy = FactoredPolicy()
    run(policy, 800, seed=11)
    return policy


def favourite(policy: FactoredPolicy, context: Context) -> str:
    probabilities = policy.decide(context, Random(0)).probabilities
    return max(probabilities, key=lambda arm: probabilities[arm])


def test_factored_takes_the_small_arm_for_simple_prompts_and_the_large_for_composed(trained: FactoredPolicy) -> None:
    weights = Weights(1.0, latency_per_s=0.1, cost_per_usd=6.0)
    assert favourite(trained, Context(SIMPLE, ARMS, weights)) == "gan@one"
    assert favourite(trained, Context(COMPOSED, ARMS, weights)) == "flow@full"


def test_a_callers_weights_act_at_once(trained: FactoredPolicy) -> None:
    assert favourite(trained, Context(COMPOSED, ARMS, Weights(1.0))) == "flow@full"
    assert favourite(trained, Context(COMPOSED, ARMS, Weights(1.0, cost_per_usd=1000.0))) == "gan@one"
    assert favourite(trained, Context(COMPOSED, ARMS, Weights(1.0, latency_per_s=50.0))) == "gan@one"


def test_a_price_acts_at_once(trained: FactoredPolicy) -> None:
    dear = (*ARMS[:2], replace(ARMS[2], price_usd=5.0))
    assert favourite(trained, Context(COMPOSED, dear, Weights(1.0, cost_per_usd=6.0))) != "flow@full"


def test_a_crowded_tier_loses_its_appeal_at_once(trained: FactoredPolicy) -> None:
    crowded = (*ARMS[:2], replace(ARMS[2], in_flight=200))
    assert favourite(trained, Context(COMPOSED, crowded, Weights(1.0, latency_per_s=0.1))) != "flow@full"
    shared = (*ARMS[:2], replace(ARMS[2], in_flight=200, replicas=200))
    assert favourite(trained, Context(COMPOSED, shared, Weights(1.0, latency_per_s=0.1))) == "flow@full"


def test_weights_that_differ_by_a_factor_give_the_same_choice(trained: FactoredPolicy) -> None:
    small = trained.decide(Context(COMPOSED, ARMS, Weights(1.0, 0.1, 6.0)), Random(0)).probabilities
    large = trained.decide(Context(COMPOSED, ARMS, Weights(10.0, 1.0, 60.0)), Random(0)).probabilities
    assert large == pytest.approx(small)


def test_a_caller_who_cares_for_money_only_gets_the_cheapest(trained: FactoredPolicy) -> None:
    decision = trained.decide(Context(COMPOSED, ARMS, Weights(0.0, 0.0, 1000.0)), Random(0))
    assert max(decision.probabilities, key=lambda arm: decision.probabilities[arm]) == "gan@one"


def test_a_new_arm_starts_from_what_its_family_taught(trained: FactoredPolicy) -> None:
    new = replace(ARMS[0], name="gan@two", preset="two")
    predictions = trained.decide(Context(COMPOSED, (*ARMS, new)), Random(0)).predictions
    assert abs(predictions["gan@two"].quality - predictions["gan@one"].quality) < 0.2


def test_gamma_makes_the_choice_greedier_with_every_record() -> None:
    policy = FactoredPolicy(FactoredOptions(floor=0.0))
    context = Context(SIMPLE, ARMS, Weights(1.0, 0.1, 6.0))
    before = max(policy.decide(context, Random(0)).probabilities.values())
    run(policy, 400, seed=5)
    assert max(policy.decide(context, Random(0)).probabilities.values()) > before + 0.3


def test_a_vote_is_no_new_round_for_gamma() -> None:
    policy = FactoredPolicy()
    run(policy, 20, seed=5)
    record = Record("1", Context(SIMPLE, ARMS), Decision("gan@one", 0.5, {}), "gan@one", 0.02, 0.001, 0.9)

    before = policy.rounds
    policy.learn(replace(record, rating=0.0, amends=True))
    assert policy.rounds == before
    policy.learn(replace(record, rating=0.0))
    assert policy.rounds == before + 1


def test_no_round_for_gamma_without_a_choice_or_a_quality() -> None:
    """Requests for one tier by name, or with all others away, must not make choices between arms greedier."""
    policy = FactoredPolicy()
    record = Record("1", Context(SIMPLE, ARMS), Decision("gan@one", 0.5, {}), "gan@one", 0.02, 0.001, 0.9)
    alone = (ARMS[0], *(replace(arm, available=False) for arm in ARMS[1:]))
    for arms in (ARMS[:1], alone):
        policy.learn(replace(record, context=Context(SIMPLE, arms), decision=Decision("gan@one", 1.0, {})))
    policy.learn(replace(record, quality_is_default=True))
    assert policy.rounds == 0
    policy.learn(record)
    assert policy.rounds == 1


@pytest.mark.parametrize(
    ("arms", "callers", "margin"), [(ARMS, MANY_CALLERS[:1], 0.02), (MORE_ARMS, MANY_CALLERS, 0.04)]
)
def test_factored_beats_every_fixed_arm_after_a_few_hundred_requests(
    arms: Sequence[ArmContext], callers: Sequence[Weights], margin: float
) -> None:
    """Weights are chosen so that no arm is right for all; the margin is half of what twenty seeds gave."""
    runs = [run(FactoredPolicy(), 800, seed, arms, callers)[400:] for seed in range(5)]
    earned = mean(one.expected for rounds in runs for one in rounds)
    assert earned > mean(best_fixed(rounds) for rounds in runs) + margin
    assert earned > mean(one.uniform for rounds in runs for one in rounds) + 2 * margin
    assert earned < mean(one.oracle for rounds in runs for one in rounds)
