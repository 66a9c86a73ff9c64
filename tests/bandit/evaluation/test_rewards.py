from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bandit.context import Context, Prediction, Weights
from bandit.errors import CannotEvaluate
from bandit.evaluation.rewards import Range, Reward


def test_reward_is_the_callers_utility_or_the_quality(even_log) -> None:
    record = replace(even_log.truth.records[0], quality=0.75, latency_s=2.0, cost_usd=0.01)
    record = replace(record, context=replace(record.context, weights=Weights(2.0, 0.1, 5.0)))
    assert Reward().of(record) == pytest.approx(2.0 * 0.75 - 0.1 * 2.0 - 5.0 * 0.01)
    assert Reward("quality").of(record) == 0.75
    prediction = Prediction(quality=0.4, latency_s=1.0, cost_usd=0.1, utility=None)
    assert Reward().expected(prediction) is None
    assert Reward("quality").expected(prediction) == 0.4
    with pytest.raises(CannotEvaluate, match="reward is 'fun'; allowed: utility, quality"):
        Reward("fun")


def test_range_follows_from_contexts_and_holds_what_they_promise(even_log) -> None:
    span = Range("utility")
    for record in even_log.truth.records:
        span.include(record.context, record.images)
    low, high = span.bounds()
    rewards = [Reward().of(record) for record in even_log.truth.records]
    assert low < min(rewards) < max(rewards) <= high == 1.0
    # flow@full with two before it: thrice 0.5 s, taken twice, at 0.1 a second; and 0.025 USD at 6 a dollar.
    assert low == pytest.approx(-(2 * 1.5 * 0.1 + 0.025 * 6.0))


def test_range_knows_larger_callers_more_images_and_dead_arms(even_log) -> None:
    context = even_log.truth.records[0].context
    plain, more, dearer, dead = (Range("utility") for _ in range(4))
    plain.include(context, 1)
    more.include(context, 4)
    dearer.include(replace(context, weights=Weights(3.0, 1.0, 60.0)), 1)
    dead.include(replace(context, arms=tuple(replace(arm, available=arm.tier == "gan") for arm in context.arms)), 1)
    assert more.bounds()[0] < plain.bounds()[0]
    assert dearer.bounds()[0] < plain.bounds()[0]
    assert dearer.bounds()[1] == 3.0
    assert dead.bounds()[0] > plain.bounds()[0]
    free = Range("utility")
    free.include(replace(context, weights=Weights(0.0, 0.0, 0.0)), 1)
    assert free.bounds() == (-0.5, 0.5)
    quality = Range("quality")
    quality.include(context, 1)
    assert quality.bounds() == (0.0, 1.0)


def included(contexts: list[Context]) -> Range:
    span = Range("utility")
    for context in contexts:
        span.include(context, 1)
    return span


def test_one_caller_of_many_does_not_widen_the_range_of_all(even_log) -> None:
    contexts = [record.context for record in even_log.truth.records]
    plain = included(contexts)
    assert plain.outlying() == 0
    for weights in (Weights(1.0, 100.0, 6.0), Weights(1.0, 1e6, 6.0), Weights(1e6, 0.1, 6.0)):
        span = included([*contexts[1:], replace(contexts[0], weights=weights)])
        assert (np.array(span.bounds()) / plain.bounds() <= 2).all()
        assert span.outlying() == 1
        assert span.dominant() is None, "within the range it is one of many"


def test_callers_that_are_no_exception_are_held_by_the_range(even_log) -> None:
    contexts = [record.context for record in even_log.truth.records]
    twice = Weights(2.0, 0.2, 12.0)
    span = included([*contexts[1:], replace(contexts[0], weights=twice)])
    assert span.bounds()[1] == 2.0
    assert span.outlying() == 0
    some = included([replace(one, weights=Weights(1.0, 100.0, 6.0)) if number % 20 == 0 else one
                     for number, one in enumerate(contexts)])  # fmt: skip
    assert some.bounds()[0] < -100
    assert some.outlying() == 0


def test_weights_of_few_that_hold_most_of_what_is_at_stake_are_named(even_log) -> None:
    contexts = [record.context for record in even_log.truth.records]
    heavy = Weights(1.0, 100.0, 6.0)
    span = included([replace(one, weights=heavy) if number % 20 == 0 else one for number, one in enumerate(contexts)])
    found = span.dominant()
    assert found is not None
    assert found.weights == heavy
    assert found.requests == 0.05
    assert 0.7 < found.stakes < 1
    half = included([replace(one, weights=heavy) if number % 2 == 0 else one for number, one in enumerate(contexts)])
    assert half.dominant() is None, "half of the requests are not few"
    assert included(contexts).dominant() is None
    assert Range("quality").dominant() is None
