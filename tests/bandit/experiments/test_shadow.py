"""Shadows are judged by what was drawn; apprentices take over by themselves and not too soon."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bandit.context import Decision
from bandit.errors import BadRow, NoEvidence
from bandit.experiments.analysis import report
from bandit.experiments.shadow import ShadowRow, append_shadows
from bandit.experiments.supervisor import supervise
from bandit.rows import DecisionRow

GOOD, BAD = "diffusion@8", "gan@standard"


def always(arm: str, like: Decision, share: float = 0.9) -> Decision:
    """The arm with this probability, the others evenly."""
    others = (1 - share) / (len(like.probabilities) - 1)
    return Decision(arm, share, {name: share if name == arm else others for name in like.probabilities})


def uniformly(decision: DecisionRow, rng: Random) -> DecisionRow:
    names = list(decision.decision.probabilities)
    arm = rng.choice(names)
    return replace(decision, decision=Decision(arm, 1 / len(names), dict.fromkeys(names, 1 / len(names))))


def ask(world: Any, told: Any, count: int, arm: str | None, users: int | None = None) -> list[ShadowRow]:
    """Requests that the control draws evenly, and for each what the shadow would have drawn. Some arms are better."""
    worth = {GOOD: 0.9, BAD: 0.3, "flow@draft": 0.5}
    told_rows = world.ask(0, lambda variant, rng: told())
    shadows: list[ShadowRow] = []
    story, drawn = world._story, {}

    def _story(decision: DecisionRow, outcome: Any) -> list[Any]:
        decision = uniformly(decision, world.rng)
        drawn[decision.decision_id] = decision.decision
        if arm is not None:
            shadows.append(
                ShadowRow(
                    decision.decision_id, "exp:new", decision.created_at_s, "vowpal", 7, always(arm, decision.decision)
                )
            )
        quality = worth[decision.decision.arm] + world.rng.gauss(0, 0.05)
        return story(decision, replace(outcome, quality=quality, wait_s=0.1, cost_usd=0.0))

    world._story = _story
    world.ask(count, lambda variant, rng: told(), users=users)
    world._story = story
    append_shadows(world.journal, shadows)
    assert told_rows == []
    return shadows


def test_shadow_is_worth_what_its_draws_would_have_earned(world: Any, told: Any) -> None:
    world.start(kind="shadow")
    ask(world, told, 1500, GOOD)
    found = report(world.journal, "exp", world.now_s).variant("new")
    assert found.exposures == 0
    assert found.shadow is not None
    assert found.shadow.rounds == 1500
    assert found.shadow.value == pytest.approx(0.9 * 0.9 + 0.05 * 0.3 + 0.05 * 0.5 - 0.01, abs=0.02)
    assert found.shadow.acting_value == pytest.approx(1.7 / 3 - 0.01, abs=0.02)
    assert found.shadow.agreement == pytest.approx(1 / 3)
    assert found.shadow.value - found.shadow.acting_value in found.shadow.difference  # type: ignore[operator]
    assert found.shadow.difference.low > 0


def test_shadow_acts_on_nothing_and_wins_nothing(world: Any, told: Any) -> None:
    world.start(kind="shadow")
    ask(world, told, 300, GOOD)
    found = report(world.journal, "exp", world.now_s)
    assert found.winner is None
    assert "nobody can win in the shadow" in found.verdict
    assert found.sample_ratio is None
    assert supervise(world.journal, world.now_s) == []


def test_rows_are_kept_once_and_the_first_one_stays(world: Any, told: Any) -> None:
    world.start(kind="shadow")
    rows = ask(world, told, 20, GOOD)
    assert append_shadows(world.journal, rows) == 0
    assert append_shadows(world.journal, [replace(rows[0], decision=always(BAD, rows[0].decision))]) == 0
    assert append_shadows(world.journal, []) == 0
    found = report(world.journal, "exp", world.now_s).variant("new").shadow
    assert found is not None
    assert found.rounds == 20


@pytest.mark.parametrize(
    "change",
    [
        {"probabilities": {GOOD: 0.5, BAD: 0.4}},
        {"probabilities": {GOOD: 1.5, BAD: -0.5}},
        {"probabilities": {GOOD: float("nan"), BAD: 0.5}},
        {"arm": "other"},
    ],
)
def test_shadow_that_cannot_be_is_refused(world: Any, told: Any, change: dict[str, Any]) -> None:
    decision = replace(Decision(GOOD, 0.5, {GOOD: 0.5, BAD: 0.5}), **change)
    with pytest.raises(BadRow, match="allowed: probabilities that add up to 1"):
        append_shadows(world.journal, [ShadowRow("d", "exp:new", 1.0, "vowpal", None, decision)])


def test_decision_for_other_arms_is_left_out(world: Any, told: Any) -> None:
    world.start(kind="shadow")
    rows = ask(world, told, 30, None)
    assert rows == []
    with world.journal.read() as connection:
        ids = connection.exec_driver_sql("SELECT decision_id FROM decisions").scalars().all()
    fewer = Decision(GOOD, 0.5, {GOOD: 0.5, BAD: 0.5})
    append_shadows(world.journal, [ShadowRow(one, "exp:new", 1.0, "vowpal", None, fewer) for one in ids])
    found = report(world.journal, "exp", world.now_s).variant("new").shadow
    assert found is not None
    assert (found.rounds, found.value) == (0, None)


def test_apprentice_takes_over_once_it_is_known_to_be_worth_it_and_only_once(world: Any, told: Any) -> None:
    world.start(kind="apprentice", takeover=0.95, least_units=40)
    ask(world, told, 60, GOOD)
    assert supervise(world.journal, world.now_s) == []
    with pytest.raises(NoEvidence, match="not yet: new is worth"):
        world.ledger.promote("exp", "new", "ann", world.now_s)
    ask(world, told, 1500, GOOD)
    (action,) = supervise(world.journal, world.now_s)
    assert (action.what, action.variant) == ("promoted", "new")
    assert "the apprentice may take over" in action.sentence
    event = world.ledger.events("exp")[-1]
    assert (event.kind, event.actor, event.body["forced"]) == ("promoted", "supervisor", False)
    assert supervise(world.journal, world.now_s) == []


def test_apprentice_with_too_few_decisions_does_not_take_over(world: Any, told: Any) -> None:
    world.start(kind="apprentice", takeover=0.5, least_units=1600)
    ask(world, told, 1500, GOOD)
    assert supervise(world.journal, world.now_s) == []
    assert "1500 decisions, needed 1600" in report(world.journal, "exp", world.now_s).verdict


def test_apprentice_that_is_worse_does_not_take_over(world: Any, told: Any) -> None:
    world.start(kind="apprentice", takeover=0.95, least_units=100)
    ask(world, told, 1500, BAD)
    assert supervise(world.journal, world.now_s) == []
    assert "not yet" in report(world.journal, "exp", world.now_s).verdict
    assert world.ledger.live_policy() is None
