from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import nan
from random import Random

import pytest

from bandit import roster
from bandit.context import ArmContext, Context, Decision, Limits, Record
from bandit.envelope import pack
from bandit.errors import BadContext, BadRecord, BadState, NoArmAvailable
from bandit.features import extract
from bandit.round_robin import RoundRobinOptions, RoundRobinPolicy
from bandit.simulation import ARMS, MORE_ARMS

CONTEXT = Context(extract("a cat"), ARMS)
RECORD = Record("1", CONTEXT, Decision("gan@one", 0.5, {}), "gan@one", 0.02, 0.001, 0.9)


def policy() -> RoundRobinPolicy:
    return RoundRobinPolicy(RoundRobinOptions(floor=0.0))


def drawn(arm: str, context: Context = CONTEXT) -> Record:
    return replace(RECORD, context=context, decision=Decision(arm, 0.5, {}), served_arm=arm)


def turns(one: RoundRobinPolicy, rounds: int, context: Context = CONTEXT, every: int = 1) -> list[str]:
    """Decide and learn; what is decided is learned only `every` so many rounds, as with snapshots."""
    rng, answer, waiting = Random(0), [], []
    for _ in range(rounds):
        decision = one.decide(context, rng)
        answer.append(decision.arm)
        waiting.append(replace(RECORD, context=context, decision=decision, served_arm=decision.arm))
        if len(waiting) == every:
            for record in waiting:
                one.learn(record)
            waiting = []
    return answer


def test_every_arm_has_its_turn_in_the_catalogues_order() -> None:
    assert turns(policy(), 7) == ["gan@one", "diffusion@20", "flow@full"] * 2 + ["gan@one"]


@pytest.mark.parametrize("every", [4, 200])
def test_stale_snapshots_lengthen_turns_and_leave_nobody_out(every: int) -> None:
    """Rounds modulo arms would meet the same one of four arms every 200 joins."""
    counts = Counter(turns(policy(), 8 * every, replace(CONTEXT, arms=MORE_ARMS), every))
    assert set(counts.values()) == {2 * every}


def test_the_floor_is_mixed_in_and_logged() -> None:
    decision = RoundRobinPolicy(RoundRobinOptions(floor=0.3)).decide(CONTEXT, Random(0))
    assert decision.probabilities == pytest.approx({"gan@one": 0.8, "diffusion@20": 0.1, "flow@full": 0.1})
    assert decision.propensity == decision.probabilities[decision.arm]


def test_an_arm_that_was_away_is_not_owed_its_turns() -> None:
    one = policy()
    away = replace(CONTEXT, arms=(*ARMS[:2], replace(ARMS[2], available=False)))
    assert Counter(turns(one, 100, away)) == {"gan@one": 50, "diffusion@20": 50}
    assert Counter(turns(one, 9)) == {"gan@one": 3, "diffusion@20": 3, "flow@full": 3}


def test_a_newcomer_joins_the_round_and_does_not_take_it_over() -> None:
    one = policy()
    turns(one, 90)
    assert Counter(turns(one, 8, replace(CONTEXT, arms=MORE_ARMS)))["diffusion@8"] == 2


def test_arms_beyond_the_limits_have_no_turn_and_are_not_owed_any() -> None:
    one = policy()
    cheap = replace(CONTEXT, limits=Limits(cost_usd=0.01))
    assert Counter(turns(one, 60, cheap)) == {"gan@one": 30, "diffusion@20": 30}
    assert Counter(turns(one, 6)) == {"gan@one": 2, "diffusion@20": 2, "flow@full": 2}


def test_a_draw_is_a_turn_whatever_served_in_the_end() -> None:
    """An arm that always falls back would else be drawn for ever."""
    one = policy()
    one.learn(replace(drawn("gan@one"), served_arm="flow@full"))
    assert one.decide(CONTEXT, Random(0)).arm == "diffusion@20"


def test_votes_and_requests_without_a_choice_are_no_turns() -> None:
    one = policy()
    turns(one, 3)
    one.learn(replace(RECORD, rating=1.0, amends=True))
    one.learn(drawn("gan@one", replace(CONTEXT, arms=ARMS[:1])))
    assert one.decide(CONTEXT, Random(0)).arm == "gan@one"


def test_state_is_the_same_wherever_the_fold_was_cut() -> None:
    rng = Random(3)
    folded = [drawn(rng.choice(ARMS).name) for _ in range(50)]
    whole, first, resumed = policy(), policy(), RoundRobinPolicy()
    for record in folded:
        whole.learn(record)
    for record in folded[:20]:
        first.learn(record)
    resumed.restore(first.state())
    for record in folded[20:]:
        resumed.learn(record)
    assert resumed.state() == whole.state()


def test_an_arm_unseen_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "FORGET_AFTER_RECORDS", 1500)
    one = policy()
    one.learn(drawn("flow@full"))
    others = replace(CONTEXT, arms=ARMS[:2])
    turns(one, 2000, others)
    assert b"flow@full" not in one.state()


@pytest.mark.parametrize(
    ("turned", "listed"), [(b"[]", b"[0, {}]"), (b'{"a": -1}', b"[0, {}]"), (b'{"a": true}', b"[0, {}]"), (b"{}", b"")]
)
def test_restore_refuses_what_it_has_not_written_and_stays_as_it_was(turned: bytes, listed: bytes) -> None:
    one = policy()
    turns(one, 5)
    before = one.state()
    with pytest.raises(BadState):
        one.restore(pack("round_robin", {}, 1, {"turns": turned, "roster": listed}))
    for bad in (before[:-1], before + b"\0", bytes([*before[:-1], before[-1] ^ 1]), b""):
        with pytest.raises(BadState):
            one.restore(bad)
    assert one.state() == before


def test_bad_records_and_contexts_are_refused_and_counted_nowhere() -> None:
    one = policy()
    before = one.state()
    with pytest.raises(BadRecord, match="decision 1"):
        one.learn(replace(RECORD, quality=nan))
    with pytest.raises(BadRecord, match="decision 1"):
        one.learn(replace(RECORD, served_arm="flow@gone"))
    assert one.state() == before
    with pytest.raises(BadContext):
        one.decide(replace(CONTEXT, arms=(*ARMS, ARMS[0])), Random(0))


@pytest.mark.parametrize("arms", [(), tuple(replace(arm, available=False) for arm in ARMS)])
def test_decide_raises_where_no_arm_is_left(arms: tuple[ArmContext, ...]) -> None:
    with pytest.raises(NoArmAvailable):
        policy().decide(replace(CONTEXT, arms=arms), Random(0))
