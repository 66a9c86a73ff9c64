from __future__ import annotations

import numpy as np
import pytest

from bandit.context import Weights
from bandit.errors import BadTable
from bandit.features import extract
from bandit.replay.run import Replay, replay
from bandit.replay.scenario import Scenario, adoption, sustained_step
from bandit.replay.stage import known_arms
from bandit.replay.table import Table
from bandit.uniform import UniformPolicy
from tests.bandit.replay.test_run import Spy

RNG = np.random.default_rng(0)
TABLE = Table(
    "three", tuple(map(str, range(300))), tuple(f"cat {n}" for n in range(300)), ("a", "b", "c"),
    RNG.random((300, 3)), RNG.random((300, 3)), None,
)  # fmt: skip
FEATURES = [extract(prompt) for prompt in TABLE.prompts]
ARMS = known_arms(TABLE, np.ones(300, dtype=bool))


def played(scenario: Scenario) -> Replay:
    return replay(UniformPolicy(), TABLE, FEATURES, Weights(), scenario.stages(ARMS), seed=0)


def test_newcomer_is_offered_from_its_round_on() -> None:
    done = played(Scenario("newcomer", "b", 100))
    assert not (done.drawn[:100] == 1).any()
    assert (done.probabilities[:100, 1] == 0).all()
    assert done.probabilities[100:] == pytest.approx(1 / 3)


def test_removed_arm_is_offered_until_its_round() -> None:
    scenario = Scenario("removal", "b", 100)
    done = played(scenario)
    assert (done.drawn[:100] == 1).any()
    assert not (done.drawn[100:] == 1).any()
    after = scenario.table_after(TABLE)
    assert after.models == ("a", "c")
    assert np.array_equal(after.quality, TABLE.quality[:, [0, 2]])
    rest = scenario.replay_after(TABLE, done)
    assert rest.probabilities == pytest.approx(np.full((200, 2), 0.5))
    assert [after.models[one] for one in rest.drawn] == [TABLE.models[one] for one in done.drawn[100:]]


def test_new_price_is_known_and_true_from_its_round_on() -> None:
    scenario, spy = Scenario("repricing", "b", 100, times=0.1), Spy()
    assert TABLE.cost_usd is not None
    done = replay(spy, TABLE, FEATURES, Weights(), scenario.stages(ARMS), seed=0)
    prices = [context.arms[1].price_usd for context in spy.contexts]
    assert set(prices[:100]) == {ARMS[1].price_usd}
    assert set(prices[100:]) == {ARMS[1].price_usd * 0.1}
    for number, (row, column) in enumerate(zip(done.order, done.drawn, strict=True)):
        times = 0.1 if column == 1 and number >= 100 else 1.0
        assert spy.records[number].cost_usd == pytest.approx(TABLE.cost_usd[row, column] * times)
    after = scenario.table_after(TABLE)
    assert after.cost_usd is not None
    assert after.cost_usd[:, 1] == pytest.approx(TABLE.cost_usd[:, 1] * 0.1)


def test_adoption_is_the_first_of_fifty_steps_with_a_tenth_of_the_last_hundred() -> None:
    hits = np.zeros(400, dtype=bool)
    hits[200:400:5] = True  # every fifth from step 201 on: ten of the last hundred at the tenth of them, step 246
    assert sustained_step(hits) == 246


def test_arm_that_is_drawn_from_the_first_step_on_is_adopted_at_once() -> None:
    assert sustained_step(np.ones(60, dtype=bool)) == 1


def test_forced_draws_are_washed_out_of_the_settled_step() -> None:
    hits = np.arange(400) < 20
    assert sustained_step(hits) == 1
    assert sustained_step(hits, 120) is None
    hits[130::5] = True
    assert sustained_step(hits, 120) == 176  # ten hits since step 131 are in the window from the tenth of them on


def test_burst_that_is_not_held_is_no_adoption() -> None:
    hits = np.zeros(400, dtype=bool)
    hits[200:211] = True  # eleven: a tenth is in the window until it is past them, but ten leave within a hundred steps
    hits[206:] = False
    assert sustained_step(hits) is None
    assert sustained_step(np.ones(49, dtype=bool)) is None


def test_adoption_counts_from_the_arrival_and_per_seed() -> None:
    scenario = Scenario("newcomer", "b", 100)
    at_once = np.where(np.arange(300) >= 100, 1, 0)
    later = np.where(np.arange(300) >= 120, 1, 0)
    runs = [Replay(np.arange(300), drawn, np.zeros((300, 3))) for drawn in (at_once, later, np.zeros(300, dtype=int))]
    adopted = adoption(TABLE, scenario, runs)
    assert adopted.steps == (1, 23, None)  # 20 misses, then 3 of 23 are more than a tenth
    assert adopted.first_drawn == (1, 21, None)
    assert adopted.mean_step == 12
    assert adopted.settled_steps == (121, 121, None)
    assert adopted.mean_settled_step == 121
    assert adopted.share_before == 0
    assert adopted.share_at_end == pytest.approx((1 + 0.9 + 0) / 3)


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Scenario("newcomer", "z", 100), "no model 'z' in three; there is a, b, c"),
        (Scenario("newcomer", "a", 300), "round 300 is not within the 300"),
        (Scenario("newcomer", "a", 0), "round 0"),
    ],
)
def test_scenario_that_cannot_be_is_refused(scenario: Scenario, says: str) -> None:
    with pytest.raises(BadTable, match=says):
        scenario.check(TABLE)
