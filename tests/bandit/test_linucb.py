from __future__ import annotations

from dataclasses import replace
from math import sqrt
from random import Random
from statistics import mean

import pytest

from bandit.context import Context, Decision, PromptFeatures, Record, Weights
from bandit.features import extract
from bandit.linucb import LinUcbOptions, LinUcbPolicy
from bandit.simulation import ARMS, best_fixed, run

# Without numbers and words, the design is the constant alone: x = 1, so A, b and the width are single numbers.
CONTEXT = Context(PromptFeatures("words-1", {}, ()), ARMS[:2])
GAN, DIFFUSION = "gan@one", "diffusion@20"


def learned(alpha: float, gan: list[float], diffusion: list[float], ridge: float = 1.0) -> LinUcbPolicy:
    policy = LinUcbPolicy(LinUcbOptions(floor=0.0, alpha=alpha, ridge=ridge))
    for name, qualities in ((GAN, gan), (DIFFUSION, diffusion)):
        for quality in qualities:
            policy.learn(Record("1", CONTEXT, Decision(name, 0.5, {}), name, 0.1, 0.001, quality))
    return policy


@pytest.mark.parametrize("ridge", [1.0, 3.0])
def test_the_width_of_confidence_is_the_one_worked_out_by_hand(ridge: float) -> None:
    """A = ridge + n, so theta = n (q - 1/2) / (ridge + n) and the width is 1 / sqrt(ridge + n)."""
    gan, diffusion = [0.9] * 40, [0.7] * 4
    means = [0.5 + 40 * 0.4 / (ridge + 40), 0.5 + 4 * 0.2 / (ridge + 4)]
    widths = [1 / sqrt(ridge + 40), 1 / sqrt(ridge + 4)]
    tipping = (means[0] - means[1]) / (widths[1] - widths[0])
    assert tipping > 0
    for alpha, best in ((tipping - 1e-6, GAN), (tipping + 1e-6, DIFFUSION)):
        decision = learned(alpha, gan, diffusion, ridge).decide(CONTEXT, Random(0))
        assert decision.probabilities[best] == 1.0
        assert decision.predictions[GAN].quality == pytest.approx(means[0])
        assert decision.predictions[DIFFUSION].quality == pytest.approx(means[1])


def test_the_width_is_paid_for_in_the_callers_weight_of_quality() -> None:
    """A caller who multiplies all weights by ten asks for the same choice."""
    policy = learned(0.3, [0.9] * 40, [0.7] * 4)
    for weights in (Weights(1.0, 0.1, 6.0), Weights(0.01, 0.1, 6.0)):
        tenfold = Weights(10 * weights.quality, 10 * weights.latency_per_s, 10 * weights.cost_per_usd)
        one, other = (policy.decide(replace(CONTEXT, weights=both), Random(0)) for both in (weights, tenfold))
        assert one.probabilities == other.probabilities


def test_propensities_are_the_floor_but_for_the_best_arm() -> None:
    policy = LinUcbPolicy(LinUcbOptions(floor=0.2))
    rng = Random(0)
    for _ in range(20):
        decision = policy.decide(CONTEXT, rng)
        assert sorted(decision.probabilities.values()) == pytest.approx([0.1, 0.9])
        policy.learn(Record("1", CONTEXT, decision, decision.arm, 0.1, 0.001, rng.random()))


def test_linucb_learns_from_a_sentence_vector_where_the_schema_has_one() -> None:
    """Two prompts of the same words, told apart by their vectors alone."""
    schema = "words-1+minilm-1"
    policy = LinUcbPolicy(LinUcbOptions(features_schema=schema, floor=0.0))
    sides = [Context(extract("a cat", schema, vector=[0.5 * side] + [0.0] * 127), ARMS[:2]) for side in (1, -1)]
    for number in range(100):
        side = number % 2
        for name, quality in ((GAN, (0.9, 0.1)[side]), (DIFFUSION, 0.5)):
            policy.learn(Record("1", sides[side], Decision(name, 0.5, {}), name, 0.1, 0.001, quality))
    assert [policy.decide(one, Random(0)).arm for one in sides] == [GAN, DIFFUSION]


def test_linucb_earns_more_than_every_fixed_arm() -> None:
    later = [one for seed in range(3) for one in run(LinUcbPolicy(), 1200, seed)[600:]]
    assert mean(one.expected for one in later) > best_fixed(later) + 0.01
