"""The walk: a logger that walks its own log repeats itself, and no target sees a round's outcome before it decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bandit.context import Context, Decision, Prediction, Record
from bandit.errors import BadContext, CannotEvaluate
from bandit.evaluation.log import CANCELLED, NO_CHOICE, NO_QUALITY, NOT_UNDERSTOOD, Log
from bandit.evaluation.prequential import walk
from bandit.evaluation.rewards import Reward
from bandit.evaluation.simulated_log import EVERY_S, START_S, simulate, write
from bandit.evaluation.target import Target
from bandit.journal import Journal
from bandit.policies import build
from bandit.uniform import UniformPolicy


class Watching:
    """Draws evenly, and keeps what it was asked and told; with `predicts`, expects the number of records learned."""

    name = "watching"

    def __init__(self, predicts: bool = False) -> None:
        self.even, self.predicts = UniformPolicy(), predicts
        self.asked_after: list[int] = []  # records learned, per decision
        self.told: list[str] = []

    def decide(self, context: Context, rng: Random) -> Decision:
        decision = self.even.decide(context, rng)
        self.asked_after.append(len(self.told))
        if not self.predicts:
            return decision
        expected = Prediction(quality=0.5, latency_s=0.0, cost_usd=0.0, utility=float(len(self.told)))
        return replace(decision, predictions={arm.name: expected for arm in context.arms})

    def learn(self, record: Record) -> None:
        self.told.append(record.decision_id)

    def state(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        return None


class Choosy(Watching):
    def decide(self, context: Context, rng: Random) -> Decision:
        if "count" in context.features.tokens or len(self.asked_after) % 2:
            self.asked_after.append(0)
            raise BadContext("not this one")
        return super().decide(context, rng)


class Broken(Watching):
    def decide(self, context: Context, rng: Random) -> Decision:
        decision = super().decide(context, rng)
        return replace(decision, probabilities={arm.name: float("nan") for arm in context.arms})


class Wild(Watching):
    def decide(self, context: Context, rng: Random) -> Decision:
        nothing = Prediction(quality=0.5, latency_s=0.0, cost_usd=0.0, utility=float("nan"))
        return replace(super().decide(context, rng), predictions={arm.name: nothing for arm in context.arms})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def test_the_policy_that_logged_repeats_its_own_probabilities_to_the_last_bit(learned_log) -> None:
    """So what it had learned at each round, and in which order, is what it is asked with here."""
    rounds = walk(Log(learned_log.journal), Target("factored", build("factored", {"floor": 0.2})), Reward())
    assert len(rounds.reward) == rounds.decided == 1500
    assert (rounds.target == rounds.logged).all()
    assert rounds.excluded == {}


def test_a_target_has_learned_all_earlier_rounds_and_not_its_own(even_log) -> None:
    policy = Watching()
    walk(Log(even_log.journal), Target("watching", policy), Reward())
    assert policy.asked_after == list(range(1500))
    assert policy.told == [str(number) for number in range(1499)]


def test_a_frozen_target_learns_what_came_before_and_nothing_after(even_log) -> None:
    since_s = START_S + 100 * EVERY_S
    policy = Watching()
    rounds = walk(Log(even_log.journal, since_s=since_s), Target("watching", policy, frozen=True), Reward())
    assert len(policy.told) == 100
    assert set(policy.asked_after) == {100}
    assert len(rounds.reward) == 1400


def test_predictions_are_those_of_the_target_or_of_a_model_that_had_not_seen_the_round(even_log) -> None:
    own = walk(Log(even_log.journal), Target("watching", Watching(predicts=True)), Reward())
    assert own.predicted[:, 0].tolist() == list(range(1500))
    modelled = walk(Log(even_log.journal), Target("watching", Watching()), Reward())
    truth = np.array([[one.arms[name] for name in modelled.names] for one in even_log.truth.rounds])
    late = slice(750, None)
    error = np.abs(modelled.predicted - truth)[late].mean()
    constant = np.abs(modelled.reward.mean() - truth)[late].mean()
    assert error < 0.6 * constant, "the model has learned little"
    # Leaked, the outcome of the very round would show: rewards are right or wrong, predictions are not.
    drawn = np.arange(1500), modelled.drawn
    left = (modelled.reward - modelled.predicted[drawn])[late]
    assert np.std(left) > 0.3


def test_rounds_that_tell_nothing_are_left_out_and_counted(journal: Journal) -> None:
    records = list(simulate(UniformPolicy(), 60, seed=4).records)
    for number in range(10):
        one = records[number]
        alone = tuple(replace(arm, available=arm.name == one.decision.arm) for arm in one.context.arms)
        records[number] = replace(one, context=replace(one.context, arms=alone))
    for number in range(25, 32):
        records[number] = replace(records[number], quality_is_default=True)
    write(journal, records, "uniform", unserved={str(number): "cancelled" for number in range(10, 25)})
    rounds = walk(Log(journal), Target("watching", Watching()), Reward())
    assert rounds.excluded == {NO_CHOICE: 10, CANCELLED: 15, NO_QUALITY: 7}
    assert sum(one.rounds for one in rounds.by_arm.values()) == 50
    assert sum(one.missing for one in rounds.by_arm.values()) == 22
    assert (len(rounds.reward), rounds.decided) == (28, 60)
    rounds = walk(Log(journal), Target("choosy", Choosy()), Reward())
    assert rounds.excluded[NOT_UNDERSTOOD] == 14


def test_a_target_whose_probabilities_are_none_is_refused(even_log) -> None:
    with pytest.raises(CannotEvaluate, match="policy broken answers decision 0 with the probabilities"):
        walk(Log(even_log.journal), Target("broken", Broken()), Reward())


def test_predictions_that_are_not_finite_are_replaced_by_the_mean_so_far(even_log) -> None:
    rounds = walk(Log(even_log.journal), Target("wild", Wild()), Reward())
    before = np.cumsum(rounds.reward)[:-1] / np.arange(1, 1500)
    assert np.allclose(rounds.predicted[1:, 0], before)
    assert rounds.predicted[0, 0] == 0.5


def test_a_log_of_default_qualities_alone_is_refused_with_the_reason(journal: Journal) -> None:
    records = [replace(one, quality_is_default=True) for one in simulate(UniformPolicy(), 20, seed=4).records]
    write(journal, records, "uniform")
    with pytest.raises(CannotEvaluate, match="none of 20 rounds is of use: 20 × the quality was never measured"):
        walk(Log(journal), Target("watching", Watching()), Reward())


def test_arms_that_come_and_go_have_zeros_where_they_were_not(journal: Journal) -> None:
    records = list(simulate(UniformPolicy(), 40, seed=4).records)
    late = "gan@one"
    for number, one in enumerate(records[:20]):
        arms = tuple(arm for arm in one.context.arms if arm.name != late)
        arm = one.decision.arm if one.decision.arm != late else arms[0].name
        decision = Decision(arm, 0.5, {each.name: 0.5 for each in arms})
        records[number] = replace(one, context=replace(one.context, arms=arms), decision=decision, served_arm=arm)
    write(journal, records, "uniform")
    rounds = walk(Log(journal), Target("watching", Watching()), Reward())
    place = rounds.names.index(late)
    assert place == 2
    for table in (rounds.logged, rounds.target, rounds.eligible, rounds.predicted):
        assert (table[:20, place] == 0).all()
    assert (rounds.logged[20:, place] > 0.3).all()
    assert np.allclose(rounds.logged.sum(axis=1), 1.0)
    assert np.allclose(rounds.always(late)[:20], rounds.evenly()[:20]), "where it is not there, any other alike"
    assert (rounds.always(late)[20:, place] == 1.0).all()


def test_always_and_evenly_are_what_the_policies_would_draw(even_log) -> None:
    log = Log(even_log.journal, until_s=START_S + 50 * EVERY_S)
    rounds = walk(log, Target("flow@full", build("fixed", {"arm": "flow@full"})), Reward())
    assert (rounds.target == rounds.always("flow@full")).all()
    rounds = walk(log, Target("uniform", build("uniform")), Reward())
    assert np.allclose(rounds.target, rounds.evenly())


def test_progress_is_told_from_the_first_event_to_the_last(even_log) -> None:
    told: list[tuple[int, int]] = []
    log = Log(even_log.journal)
    walk(log, Target("uniform", build("uniform")), Reward(), progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 2999)
    assert told[-1] == (2999, 2999)
    assert len(told) == 7


def test_rounds_are_of_the_arm_that_was_drawn_whatever_came_of_it(journal: Journal) -> None:
    """Failed: quality 0, the time waited, no cost. Served by another: what the caller got."""
    records = list(simulate(UniformPolicy(), 40, seed=4).records)
    other = next(arm.name for arm in records[1].context.arms if arm.name != records[1].served_arm)
    records[1] = replace(records[1], served_arm=other, quality=0.25, latency_s=0.2, cost_usd=0.001)
    write(journal, records, "uniform", unserved={"0": "failed"})
    rounds = walk(Log(journal), Target("watching", Watching()), Reward())
    assert (len(rounds.reward), rounds.excluded) == (40, {})
    assert [rounds.names[place] for place in rounds.drawn] == [one.decision.arm for one in records]
    weights = records[0].context.weights
    assert rounds.reward[0] == pytest.approx(-weights.latency_per_s * records[0].latency_s)
    weights = records[1].context.weights
    assert rounds.reward[1] == pytest.approx(0.25 - 0.2 * weights.latency_per_s - 0.001 * weights.cost_per_usd)
    assert rounds.by_arm[records[0].decision.arm].not_served == 1
    assert sum(one.missing for one in rounds.by_arm.values()) == 0
