from __future__ import annotations

from pathlib import Path

import pytest

from bandit.errors import CannotEvaluate, UnknownPolicy
from bandit.evaluation.target import target_of
from bandit.journal import Journal
from bandit.policies import NAMES, build


def test_a_target_is_a_policy_an_arm_or_the_live_one(even_log, learned_log) -> None:
    assert target_of(even_log.journal, "factored").policy.name == "factored"
    arm = target_of(even_log.journal, "flow@full", {"floor": 0.1})
    assert (arm.name, arm.policy.name, arm.policy.options.arm, arm.policy.options.floor) == (
        "flow@full",
        "fixed",
        "flow@full",
        0.1,
    )
    live = target_of(learned_log.journal, "live")
    assert (live.name, live.policy.name) == ("live (factored)", "factored")
    assert target_of(even_log.journal, "uniform").is_static
    assert not live.is_static


def test_every_policy_can_be_a_target(even_log) -> None:
    for name in NAMES:
        options = {"arm": "flow@full"} if name == "fixed" else {}
        assert target_of(even_log.journal, name, options).policy.name == build(name, options).name


def test_names_and_options_that_are_not_known_are_refused_with_those_that_are(even_log, tmp_path: Path) -> None:
    with pytest.raises(CannotEvaluate, match=r"'clever' is neither a policy \(.*factored.*\), nor 'live', nor an arm"):
        target_of(even_log.journal, "clever")
    with pytest.raises(CannotEvaluate, match=r"nor an arm of the log \(gan@one, diffusion@20, flow@full\)"):
        target_of(even_log.journal, "flow@fast")
    with pytest.raises(UnknownPolicy, match="option floor is nan"):
        target_of(even_log.journal, "factored", {"floor": float("nan")})
    with pytest.raises(UnknownPolicy, match="has no option 'flor'"):
        target_of(even_log.journal, "factored", {"flor": 0.1})
    empty = Journal.open(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(CannotEvaluate, match="no policy has decided in this journal yet"):
        target_of(empty, "live")
    with pytest.raises(CannotEvaluate, match="nor an arm of the log \\(which is empty\\)"):
        target_of(empty, "flow@full")
    empty.close()


def test_what_is_estimated_is_said(even_log) -> None:
    assert "does not learn" in target_of(even_log.journal, "uniform").estimand()
    assert "not learning any more" in target_of(even_log.journal, "factored", frozen=True).estimand()
    assert "whoever drew it" in target_of(even_log.journal, "factored").estimand()
