from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import mean

import pytest

from bandit.context import ArmContext, Context, Decision, Limits, Record, Weights
from bandit.errors import BadState
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


def drawn(policy: FactoredPolicy, qualities: dict[str, float], rounds: int, seed: int = 0) -> list[str]:
    """Arms drawn while each is as good as said, give or take; all cost and take the same."""
    rng, names = Random(seed), []
    arms = tuple(replace(ARMS[0], name=name, tier=name, family=name) for name in qualities)
    for number in range(rounds):
        context = Context(SIMPLE, arms)
        decision = policy.decide(context, rng)
        names.append(decision.arm)
        quality = min(max(qualities[decision.arm] + rng.gauss(0, 0.15), 0.0), 1.0)
        policy.learn(Record(str(number), context, decision, decision.arm, 0.02, 0.001, quality))
    return names


@pytest.mark.parametrize("quality_model", ["vowpal", "ridge"])
def test_an_arm_that_began_badly_is_tried_again(quality_model: str) -> None:
    """The best of nine arms, underestimated after its first forty draws, was not drawn again for 6,000 requests."""
    policy = FactoredPolicy(FactoredOptions(quality_model=quality_model, floor=0.0))
    drawn(policy, {"a": 0.5, "b": 0.35}, 60)
    names = drawn(policy, {"a": 0.5, "b": 0.75}, 600, seed=1)
    assert names[-200:].count("b") > 150


@pytest.mark.parametrize("quality_model", ["vowpal", "ridge"])
def test_a_newcomer_is_tried_from_its_first_round_on_and_kept_if_it_is_good(quality_model: str) -> None:
    policy = FactoredPolicy(FactoredOptions(quality_model=quality_model))
    drawn(policy, {"a": 0.5, "b": 0.6}, 1500)
    names = drawn(policy, {"a": 0.5, "b": 0.6, "new": 0.7}, 300, seed=1)
    assert "new" in names[:10]
    assert names[-100:].count("new") > 60


@pytest.mark.parametrize("quality_model", ["vowpal", "ridge"])
def test_a_fall_of_quality_is_an_alarm_and_the_arm_is_left(quality_model: str) -> None:
    policy = FactoredPolicy(FactoredOptions(quality_model=quality_model))
    drawn(policy, {"a": 0.8, "b": 0.6}, 1500)
    assert policy.alarms == {}
    names = drawn(policy, {"a": 0.3, "b": 0.6}, 400, seed=1)
    assert list(policy.alarms) == ["a"]
    assert names[-100:].count("b") > 80


def test_a_removed_arm_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandit.roster.FORGET_AFTER_RECORDS", 1000)
    policy = FactoredPolicy(FactoredOptions(quality_model="ridge"))
    drawn(policy, {"a": 0.5, "old": 0.6}, 200)
    assert b'"old"' in policy.state()
    drawn(policy, {"a": 0.5, "b": 0.6}, 2100)
    assert b'"old"' not in policy.state()


@pytest.mark.parametrize("quality_model", ["vowpal", "ridge"])
def test_what_images_cost_against_their_price_is_learned(quality_model: str) -> None:
    policy = FactoredPolicy(FactoredOptions(quality_model=quality_model))
    for number in range(200):
        decision = Decision("gan@one", 0.5, {})
        policy.learn(Record(str(number), Context(SIMPLE, ARMS), decision, "gan@one", 0.02, 0.003, 0.9))
    told = policy.decide(Context(SIMPLE, ARMS), Random(0)).predictions
    assert told["gan@one"].cost_usd == pytest.approx(0.003, rel=0.05)
    assert told["flow@full"].cost_usd == pytest.approx(ARMS[2].price_usd, rel=1.1)
    dearer = tuple(replace(arm, price_usd=2 * arm.price_usd) for arm in ARMS)
    assert policy.decide(Context(SIMPLE, dearer), Random(0)).predictions["gan@one"].cost_usd == pytest.approx(
        2 * told["gan@one"].cost_usd
    )


def test_limits_mask_before_gaps_are_weighed() -> None:
    """The dearest arm is the best; within the limit the best of the others takes its place, not an even share."""
    policy = FactoredPolicy()
    run(policy, 800, seed=11)
    context = Context(COMPOSED, ARMS, Weights(1.0), Limits(cost_usd=0.01))
    probabilities = policy.decide(context, Random(0)).probabilities
    assert probabilities["flow@full"] == 0.0
    assert probabilities["diffusion@20"] > 0.8


def test_options_that_shape_what_is_learned_must_match_the_state() -> None:
    state = FactoredPolicy(FactoredOptions(quality_model="ridge")).state()
    FactoredPolicy(FactoredOptions(quality_model="ridge", floor=0.2, optimism=2.0)).restore(state)
    for other in (
        FactoredOptions(),
        FactoredOptions(quality_model="ridge", own_penalty=31.0),
        FactoredOptions(quality_model="ridge", budget_usd=0.1),
    ):
        with pytest.raises(BadState):
            FactoredPolicy(other).restore(state)


def test_the_floor_is_even_for_who_minds_no_cost_and_shrinks_where_exploring_is_dear() -> None:
    """A hundredth of all draws on an arm that costs 1.5 perfect images was most of what a router lost on a table."""
    policy = FactoredPolicy(FactoredOptions(floor=0.3))
    run(policy, 300, seed=11)
    even = policy.decide(Context(SIMPLE, ARMS), Random(0)).probabilities
    assert min(even.values()) >= 0.1 - 1e-12
    dear = (*ARMS[:2], replace(ARMS[2], price_usd=1.5))
    paid = policy.decide(Context(SIMPLE, dear, Weights(1.0, cost_per_usd=1.0)), Random(0)).probabilities
    shares = [1.0, (1 + 0.007) ** -2, (1 + 1.499) ** -2]
    for arm, share in zip(dear, shares, strict=True):
        assert paid[arm.name] >= 0.3 * share / sum(shares) - 1e-9
    assert 0.0 < paid["flow@full"] < 0.03
    assert sum(paid.values()) == pytest.approx(1.0)


def test_a_caller_who_does_not_mind_quality_gets_what_is_best_for_certain() -> None:
    """With weights of (0, 0, 1) the draws were even over arms of a tenfold price, for ever."""
    policy = FactoredPolicy(FactoredOptions(floor=0.03))
    for weight in (1.0, 1000.0):
        probabilities = policy.decide(Context(SIMPLE, ARMS, Weights(0.0, 0.0, weight)), Random(0)).probabilities
        assert probabilities == pytest.approx({"gan@one": 0.98, "diffusion@20": 0.01, "flow@full": 0.01}, abs=1e-3)


def test_an_arm_beyond_a_callers_ceiling_does_not_grow_old() -> None:
    """An arm that ten thousand callers could not afford was explored by nobody when one could."""
    policy = FactoredPolicy()
    cheap = Limits(cost_usd=0.008)
    for number in range(3000):
        context = Context(SIMPLE, ARMS, Weights(1.0), cheap)
        decision = policy.decide(context, Random(number))
        quality = 0.5 if decision.arm == "gan@one" else 0.4
        policy.learn(Record(str(number), context, decision, decision.arm, 0.02, 0.001, quality))
    probabilities = policy.decide(Context(SIMPLE, ARMS, Weights(1.0)), Random(0)).probabilities
    assert probabilities["flow@full"] > 0.2


@pytest.mark.parametrize("weights", [Weights(1e-300, 1e9, 1e9), Weights(1e-9, 1e9, 1e9), Weights(1.0, 1e9, 1e9)])
@pytest.mark.parametrize("budget_usd", [None, 0.01])
def test_weights_at_their_ends_give_finite_probabilities(weights: Weights, budget_usd: float | None) -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd=budget_usd))
    arms = (*ARMS[:2], replace(ARMS[2], service_s=1e9, in_flight=10**9))
    for number in range(40):
        decision = policy.decide(Context(SIMPLE, arms, weights), Random(number))
        assert sum(decision.probabilities.values()) == pytest.approx(1.0)
        policy.learn(Record(str(number), Context(SIMPLE, arms, weights), decision, decision.arm, 0.1, 0.001, 0.5))
