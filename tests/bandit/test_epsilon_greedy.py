from __future__ import annotations

from random import Random
from statistics import mean

import pytest

from bandit.composed_policy import all_on_best
from bandit.context import Context, Decision, Record, Weights
from bandit.epsilon_greedy import EpsilonGreedyOptions, EpsilonGreedyPolicy
from bandit.features import extract
from bandit.simulation import ARMS, best_fixed, run

CONTEXT = Context(extract("a cat"), ARMS)


def test_the_floor_is_epsilon() -> None:
    policy = EpsilonGreedyPolicy(EpsilonGreedyOptions(floor=0.3))
    policy.learn(Record("1", CONTEXT, Decision("flow@full", 0.1, {}), "flow@full", 0.5, 0.025, 1.0))
    assert policy.decide(CONTEXT, Random(0)).probabilities == pytest.approx(
        {"gan@one": 0.1, "diffusion@20": 0.1, "flow@full": 0.8}
    )


def test_what_is_predicted_is_the_mean_of_what_was_learned() -> None:
    policy = EpsilonGreedyPolicy()
    rng = Random(2)
    qualities = [rng.random() for _ in range(200)]
    for quality in qualities:
        policy.learn(Record("1", CONTEXT, Decision("gan@one", 0.1, {}), "gan@one", 0.02, 0.001, quality))
    one = policy.decide(CONTEXT, rng).predictions["gan@one"]
    assert one.quality == pytest.approx(mean([0.5, *qualities]))
    assert one.utility == pytest.approx(one.quality)
    other = policy.decide(Context(CONTEXT.features, ARMS, Weights(2.0, 1.0, 10.0)), rng).predictions["gan@one"]
    assert other.utility == pytest.approx(2 * one.quality - one.latency_s - 0.01)


def test_epsilon_greedy_finds_the_best_fixed_arm() -> None:
    """And no more: it sees no prompt, so the best fixed arm less its epsilon is what it can earn."""
    later = [one for seed in range(4) for one in run(EpsilonGreedyPolicy(), 1200, seed)[600:]]
    assert mean(one.expected for one in later) == pytest.approx(best_fixed(later), abs=0.015)


@pytest.mark.parametrize("worths", [[0.25], [-1.0, 3.0, 2.0], [2.0, 2.0, 1.0]])
def test_all_on_best_takes_the_first_of_the_best(worths: list[float]) -> None:
    shares = all_on_best(worths)
    assert shares.index(1.0) == worths.index(max(worths))
    assert sum(shares) == 1.0
