from __future__ import annotations

from dataclasses import replace

import pytest

from bandit.context import Prediction, Weights
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
    assert more.low < plain.low
    assert dearer.low < plain.low
    assert dearer.high == 3.0
    assert dead.low > plain.low
    free = Range("utility")
    free.include(replace(context, weights=Weights(0.0, 0.0, 0.0)), 1)
    assert free.bounds() == (-0.5, 0.5)
    quality = Range("quality")
    quality.include(context, 1)
    assert quality.bounds() == (0.0, 1.0)
