from __future__ import annotations

from random import Random

import numpy as np
import pytest

from bandit.context import Context, Decision, Record, Weights
from bandit.features import extract
from bandit.fixed import FixedOptions, FixedPolicy
from bandit.replay.run import order_of, replay
from bandit.replay.stage import family, known_arms, unchanged
from bandit.uniform import UniformPolicy
from tests.bandit.replay.made_up_table import made_up, with_first_part

TABLE = made_up(60)
FEATURES = [extract(prompt) for prompt in TABLE.prompts]
EVERYTHING = np.ones(60, dtype=bool)
STAGES = unchanged(known_arms(TABLE, EVERYTHING))


class Spy:
    """Draws by turns, and keeps whatever it was shown."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.records: list[Record] = []

    def decide(self, context: Context, rng: Random) -> Decision:
        assert len(self.records) == len(self.contexts), "asked again before the last outcome was told"
        self.contexts.append(context)
        arm = context.arms[len(self.contexts) % 2].name
        return Decision(arm, 0.5, dict.fromkeys((one.name for one in context.arms), 0.5))

    def learn(self, record: Record) -> None:
        self.records.append(record)


def test_router_is_told_of_the_drawn_arm_alone() -> None:
    spy = Spy()
    done = replay(spy, TABLE, FEATURES, Weights(), STAGES, seed=3)
    assert TABLE.cost_usd is not None
    assert TABLE.latency_s is not None
    for number, (row, record) in enumerate(zip(done.order, spy.records, strict=True)):
        column = (number + 1) % 2
        assert record.served_arm == record.decision.arm == TABLE.models[column]
        assert record.quality == TABLE.quality[row, column]
        assert record.cost_usd == TABLE.cost_usd[row, column]
        assert record.latency_s == TABLE.latency_s[row, column]
        assert record.rating is None
        assert not record.quality_is_default


def test_context_tells_nothing_of_this_prompts_outcomes() -> None:
    """Were quality or true cost anywhere in it, two tables with other outcomes would give other contexts."""
    other = made_up(60, seed=0)
    other.quality[:] = 1 - other.quality
    assert other.cost_usd is not None
    ours, theirs = Spy(), Spy()
    replay(ours, TABLE, FEATURES, Weights(), STAGES, seed=0)
    replay(theirs, other, FEATURES, Weights(), STAGES, seed=0)
    assert ours.contexts == theirs.contexts
    assert {context.arms for context in ours.contexts} == {STAGES[0].arms}


def test_every_prompt_is_seen_once_and_with_its_own_features() -> None:
    spy = Spy()
    done = replay(spy, TABLE, FEATURES, Weights(), STAGES, seed=1)
    assert sorted(done.order) == list(range(60))
    assert [context.features for context in spy.contexts] == [FEATURES[row] for row in done.order]


def test_weights_are_in_the_context() -> None:
    spy = Spy()
    replay(spy, TABLE, FEATURES, Weights(latency_per_s=0.3), STAGES, seed=1)
    assert {context.weights for context in spy.contexts} == {Weights(latency_per_s=0.3)}


def test_draws_and_probabilities_are_kept_by_model() -> None:
    done = replay(FixedPolicy(FixedOptions("large", floor=0.2)), TABLE, FEATURES, Weights(), STAGES, seed=0)
    assert done.probabilities == pytest.approx(np.tile([0.1, 0.9], (60, 1)))
    assert 0.7 < done.drawn.mean() < 1


def test_same_seed_same_replay_and_other_seed_another() -> None:
    one, again, other = (replay(UniformPolicy(), TABLE, FEATURES, Weights(), STAGES, seed) for seed in (5, 5, 6))
    assert np.array_equal(one.order, again.order)
    assert np.array_equal(one.drawn, again.drawn)
    assert not np.array_equal(one.order, other.order)
    assert not np.array_equal(one.drawn, other.drawn)


def test_part_to_learn_from_comes_first() -> None:
    table = with_first_part(TABLE, 0.5)
    order = order_of(table, 4)
    assert set(order[:30]) == set(range(30))
    assert list(order[:30]) != sorted(order[:30])


def test_known_price_and_time_are_means_of_the_first_part() -> None:
    first = np.arange(60) < 10
    assert TABLE.cost_usd is not None
    small, large = known_arms(TABLE, first)
    assert (small.price_usd, large.price_usd) == tuple(TABLE.cost_usd[:10].mean(axis=0))
    assert large.service_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("model", "word"),
    [("meta-llama/llama-3.1-8b-instruct", "llama"), ("SDXL_Turbo", "sdxl"), ("DALLE_3", "dalle"), ("??", "unnamed")],
)
def test_family_is_the_first_word_of_the_name(model: str, word: str) -> None:
    assert family(model) == word
