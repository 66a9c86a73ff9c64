from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from statistics import mean

import pytest

from bandit.context import ArmContext, Context, Limits, Record, Weights
from bandit.errors import BadState, UnknownPolicy
from bandit.factored import FactoredOptions, FactoredPolicy
from bandit.features import extract
from bandit.pacing import Budget, Pacer
from bandit.simulation import ARMS, CLASSES, QUALITY, prompt

PRICES = {arm.name: arm.price_usd for arm in ARMS}  # 0.001, 0.008 and 0.025 USD


def spent(policy: FactoredPolicy, rounds: int, *, seed: int = 0, arms: tuple[ArmContext, ...] = ARMS,
          truly_usd: Mapping[str, float] = PRICES, gap_s: float = 1.0) -> list[float]:  # fmt: skip
    """USD of each round; quality is a coin of the simulation's table."""
    rng, costs = Random(seed), []
    for number in range(rounds):
        kind = rng.randrange(len(CLASSES))
        context = Context(extract(prompt(CLASSES[kind], rng)), arms, Weights())
        decision = policy.decide(context, rng)
        costs.append(truly_usd[decision.arm])
        quality = float(rng.random() < QUALITY[decision.arm][kind])
        policy.learn(
            Record(str(number), context, decision, decision.arm, 0.1, costs[-1], quality, decided_at_s=gap_s * number)
        )
    return costs


@pytest.mark.parametrize("budget_usd", [0.002, 0.006, 0.015])
def test_a_mean_cost_is_held_from_the_first_round_on(budget_usd: float) -> None:
    costs = spent(FactoredPolicy(FactoredOptions(budget_usd=budget_usd)), 1500)
    assert mean(costs) == pytest.approx(budget_usd, rel=0.03)
    assert mean(costs[750:]) == pytest.approx(budget_usd, rel=0.06)


def test_a_budget_that_is_more_than_enough_changes_nothing_and_one_too_small_buys_the_cheapest() -> None:
    free = spent(FactoredPolicy(), 400)
    assert mean(spent(FactoredPolicy(FactoredOptions(budget_usd=1.0)), 400)) == pytest.approx(mean(free), rel=0.3)
    poor = spent(FactoredPolicy(FactoredOptions(budget_usd=0.0001)), 400)
    assert mean(poor) < 1.1 * PRICES["gan@one"]


def test_a_budget_is_held_though_images_cost_other_than_their_price() -> None:
    truly = PRICES | {"flow@full": 0.05}
    costs = spent(FactoredPolicy(FactoredOptions(budget_usd=0.006)), 1500, truly_usd=truly)
    assert mean(costs[500:]) == pytest.approx(0.006, rel=0.06)


def test_a_new_price_is_taken_up_at_once() -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd=0.006))
    spent(policy, 800)
    dear = tuple(replace(arm, price_usd=4 * arm.price_usd) if arm.tier != "gan" else arm for arm in ARMS)
    after = spent(policy, 400, seed=1, arms=dear, truly_usd={arm.name: arm.price_usd for arm in dear})
    assert mean(after) == pytest.approx(0.006, rel=0.15)


def test_dollars_per_hour_are_held_at_the_rate_of_arrivals() -> None:
    """One request in two seconds at 14.4 USD an hour may cost 0.008 each."""
    policy = FactoredPolicy(FactoredOptions(budget_usd_per_hour=14.4))
    costs = spent(policy, 1200, gap_s=2.0)
    assert mean(costs[200:]) == pytest.approx(0.008, rel=0.06)


def test_a_clock_that_jumps_back_or_a_night_without_requests_does_not_break_the_rate() -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd_per_hour=14.4))
    spent(policy, 400, gap_s=2.0)
    night = spent(policy, 400, gap_s=2.0, seed=1)  # begins at 0 s again: 800 s back
    assert mean(night) < 0.03
    state = policy.state()
    policy.restore(state)
    assert policy.state() == state


def test_a_paced_policy_goes_on_from_its_state_with_the_same_bytes() -> None:
    options = FactoredOptions(budget_usd=0.006)
    whole, half = FactoredPolicy(options), FactoredPolicy(options)
    spent(whole, 60)
    spent(half, 60)
    again = FactoredPolicy(options)
    again.restore(half.state())
    assert spent(whole, 40, seed=7) == spent(again, 40, seed=7)
    assert whole.state() == again.state()


def test_another_budget_keeps_what_was_learned_and_starts_without_debt() -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd=0.002))
    spent(policy, 300)
    richer = FactoredPolicy(FactoredOptions(budget_usd=0.010))
    richer.restore(policy.state())
    assert richer.rounds == policy.rounds
    assert mean(spent(richer, 600, seed=1)) == pytest.approx(0.010, rel=0.06)


def test_a_budget_spreads_the_floor_such_that_every_arm_costs_alike() -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd=0.002, floor=0.3))
    spent(policy, 300)
    decision = policy.decide(Context(extract("a cat"), ARMS), Random(0))
    money = sum(1 / price for price in PRICES.values())
    for name, price in PRICES.items():
        assert decision.probabilities[name] >= 0.3 / price / money - 1e-12
    assert decision.probabilities["flow@full"] < 0.05


def test_two_budgets_at_once_are_refused() -> None:
    with pytest.raises(UnknownPolicy, match="give one of them"):
        FactoredOptions(budget_usd=0.1, budget_usd_per_hour=1.0)


@pytest.mark.parametrize(
    "state", [b"", b"{}", b"[[null, null], NaN, 0, 0, null, 0, {}, []]", b"[[1, null], 0, 0, 0.5, null, 0, {}, []]"]
)
def test_read_refuses_what_cannot_be(state: bytes) -> None:
    with pytest.raises(BadState):
        Pacer(Budget(usd=1.0)).read(state)


def test_what_others_spend_is_not_charged_to_a_budget() -> None:
    """Beside a variant that always took the dearest arm, a paced one spent a tenth of its budget."""
    policy = FactoredPolicy(FactoredOptions(budget_usd=0.006))
    rng, costs = Random(0), []
    for number in range(1600):
        kind = rng.randrange(len(CLASSES))
        context = Context(extract(prompt(CLASSES[kind], rng)), ARMS, Weights())
        decision = policy.decide(context, rng)
        own = number % 2 == 0
        arm = decision.arm if own else "flow@full"
        quality = float(rng.random() < QUALITY[arm][kind])
        policy.learn(Record(str(number), context, decision, arm, 0.1, PRICES[arm], quality, own=own))
        if own:
            costs.append(PRICES[arm])
    assert mean(costs[200:]) == pytest.approx(0.006, rel=0.06)


def test_callers_with_ceilings_do_not_keep_a_budget_from_being_spent() -> None:
    """Four of five callers may have the cheapest arm only; what they leave is for the fifth."""
    policy = FactoredPolicy(FactoredOptions(budget_usd=0.0025))
    rng, costs = Random(0), []
    for number in range(1500):
        kind = rng.randrange(len(CLASSES))
        limits = Limits(cost_usd=0.001) if rng.random() < 0.8 else Limits()
        context = Context(extract(prompt(CLASSES[kind], rng)), ARMS, Weights(), limits)
        decision = policy.decide(context, rng)
        costs.append(PRICES[decision.arm])
        quality = float(rng.random() < QUALITY[decision.arm][kind])
        policy.learn(Record(str(number), context, decision, decision.arm, 0.1, costs[-1], quality))
    assert mean(costs[300:]) == pytest.approx(0.0025, rel=0.08)


def test_one_clock_that_is_an_hour_ahead_does_not_freeze_the_rate() -> None:
    policy = FactoredPolicy(FactoredOptions(budget_usd_per_hour=14.4))
    spent(policy, 300, gap_s=2.0)
    context = Context(extract("a cat"), ARMS, Weights())
    decision = policy.decide(context, Random(0))
    ahead = Record(
        "ahead", context, decision, decision.arm, 0.1, PRICES[decision.arm], 0.5, decided_at_s=600.0 + 3600.0
    )
    policy.learn(ahead)
    costs = spent(policy, 600, seed=1, gap_s=2.0)
    assert mean(costs[100:]) == pytest.approx(0.008, rel=0.12)
