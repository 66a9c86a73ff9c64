from __future__ import annotations

from math import erf, exp, pi, sqrt
from random import Random
from statistics import mean

import pytest

from bandit.context import Context, Decision, PromptFeatures, Record
from bandit.simulation import ARMS, best_fixed, run
from bandit.thompson import ThompsonOptions, ThompsonPolicy, win_probabilities

CONTEXT = Context(PromptFeatures("words-1", {}, ()), ARMS[:2])


def wins(means: tuple[float, float], widths: tuple[float, float]) -> float:
    """P(first > second) by the integral of its density times the other's distribution, on a fine grid."""
    steps, total = 20_000, 0.0
    low, high = means[0] - 10 * widths[0], means[0] + 10 * widths[0]
    for step in range(steps):
        at = low + (step + 0.5) * (high - low) / steps
        density = exp(-(((at - means[0]) / widths[0]) ** 2) / 2) / (widths[0] * sqrt(2 * pi))
        total += density * (1 + erf((at - means[1]) / (widths[1] * sqrt(2)))) / 2
    return total * (high - low) / steps


@pytest.mark.parametrize(
    ("means", "widths"),
    [((0.6, 0.5), (0.1, 0.1)), ((0.5, 0.5), (0.3, 0.01)), ((0.2, 0.7), (0.4, 0.2)), ((-3.0, -3.1), (0.02, 0.2))],
)
def test_win_probabilities_are_those_of_the_integral(means: tuple[float, float], widths: tuple[float, float]) -> None:
    exact = wins(means, widths)
    estimates = [win_probabilities(means, widths, 256, seed)[0] for seed in range(400)]
    assert mean(estimates) == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / (400 * 256)))
    assert all(abs(one - exact) < 5 * sqrt(0.25 / 256) for one in estimates)


def test_win_probabilities_add_up_and_follow_their_seed() -> None:
    shares = win_probabilities([0.5, 0.4, 0.6], [0.1, 0.2, 0.05], 1000, 7)
    assert sum(shares) == pytest.approx(1)
    assert shares == win_probabilities([0.5, 0.4, 0.6], [0.1, 0.2, 0.05], 1000, 7)
    assert shares != win_probabilities([0.5, 0.4, 0.6], [0.1, 0.2, 0.05], 1000, 8)
    assert win_probabilities([0.5, 0.4], [0.0, 0.0], 16, 0) == [1.0, 0.0]


def test_decide_draws_with_what_it_logs() -> None:
    """The arm is drawn from the estimate itself: given the seed, nothing about the propensity is approximate."""
    policy = ThompsonPolicy(ThompsonOptions(floor=0.1, draws=64))
    rng = Random(1)
    for number in range(30):
        decision = policy.decide(CONTEXT, rng)
        policy.learn(Record(str(number), CONTEXT, decision, decision.arm, 0.1, 0.001, 0.4 + 0.2 * rng.random()))
    drawn, logged = [], []
    for seed in range(4000):
        decision = policy.decide(CONTEXT, Random(seed))
        drawn.append(decision.arm == "gan@one")
        logged.append(decision.probabilities["gan@one"])
        sixty_fourths = (decision.probabilities["gan@one"] - 0.05) / 0.9 * 64
        assert sixty_fourths == pytest.approx(round(sixty_fourths))
    assert mean(drawn) == pytest.approx(mean(logged), abs=0.03)


def test_posterior_is_the_one_worked_out_by_hand() -> None:
    """Of a constant design: mean 1/2 + n (q - 1/2) / (1 + n), width scale / sqrt(1 + n)."""
    policy = ThompsonPolicy(ThompsonOptions(floor=0.0, posterior_scale=0.5, draws=4096, ridge=1.0))
    for name, quality, times in (("gan@one", 0.6, 24), ("diffusion@20", 0.7, 3)):
        for _ in range(times):
            policy.learn(Record("1", CONTEXT, Decision(name, 0.5, {}), name, 0.1, 0.001, quality))
    means = (0.5 + 24 * 0.1 / 25, 0.5 + 3 * 0.2 / 4)
    exact = wins(means, (0.5 / 5, 0.5 / 2))
    shares = [policy.decide(CONTEXT, Random(seed)).probabilities["gan@one"] for seed in range(50)]
    assert mean(shares) == pytest.approx(exact, abs=0.005)


def test_thompson_earns_more_than_every_fixed_arm() -> None:
    later = [one for seed in range(3) for one in run(ThompsonPolicy(), 1200, seed)[600:]]
    assert mean(one.expected for one in later) > best_fixed(later) + 0.01
