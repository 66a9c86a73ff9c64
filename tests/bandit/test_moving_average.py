from __future__ import annotations

from random import Random

import pytest

from bandit.context import Context, Decision, Record
from bandit.epsilon_greedy import EpsilonGreedyPolicy
from bandit.features import extract
from bandit.moving_average import MovingAverageOptions, MovingAveragePolicy
from bandit.policy import Policy
from bandit.simulation import ARMS

CONTEXT = Context(extract("a cat"), ARMS[:2])


def drift(policy: Policy) -> list[str]:
    """The better arm turns bad after 600 of 800 rounds; which arm came out best after each."""
    policy_answers = []
    rng = Random(5)
    for number in range(800):
        broken = number >= 600
        for arm, skill in ((ARMS[0], 0.1 if broken else 0.9), (ARMS[1], 0.5)):
            quality = float(rng.random() < skill)
            drawn = Decision(arm.name, 0.5, {})
            policy.learn(Record(str(number), CONTEXT, drawn, arm.name, arm.service_s, arm.price_usd, quality))
        probabilities = policy.decide(CONTEXT, rng).probabilities
        policy_answers.append(max(probabilities, key=lambda name: probabilities[name]))
    return policy_answers


def test_an_average_follows_a_drift_that_the_mean_does_not() -> None:
    moving, running = drift(MovingAveragePolicy()), drift(EpsilonGreedyPolicy())
    assert set(moving[500:600]) == set(running[500:600]) == {"gan@one"}
    assert set(moving[700:]) == {"diffusion@20"}
    assert set(running[700:]) == {"gan@one"}, "600 good images still outweigh 200 bad ones"


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_an_average_has_forgotten_half_after_its_half_life(share: float) -> None:
    policy = MovingAveragePolicy(MovingAverageOptions(quality_share=share))

    def learn(quality: float, times: int) -> None:
        for _ in range(times):
            policy.learn(Record("1", CONTEXT, Decision("gan@one", 0.5, {}), "gan@one", 0.02, 0.001, quality))

    learn(1.0, 1000)
    learn(0.0, round(0.6931 / share))
    assert policy.decide(CONTEXT, Random(0)).predictions["gan@one"].quality == pytest.approx(0.5, abs=0.03)
