from __future__ import annotations

import re
from math import nan
from pathlib import Path
from random import Random
from statistics import mean

import pytest

from bandit.context import Context, Decision, Record
from bandit.errors import BadState, UnknownPolicy
from bandit.features import extract
from bandit.simulation import ARMS, run
from bandit.vowpal import VowpalOptions, VowpalPolicy, Workspace

REGRESSOR = ("--bit_precision", "12", "--power_t", "0")


@pytest.mark.parametrize("option", ["--daemon", "--regcbopt", "--elim", "--final_regressor", "--cb_explore_adf2"])
def test_workspace_refuses_options_outside_the_allow_list(option: str) -> None:
    with pytest.raises(UnknownPolicy, match="--squarecb"):
        Workspace((option,))


def test_workspace_refuses_options_that_vw_refuses() -> None:
    with pytest.raises(UnknownPolicy, match="VW refused"):
        Workspace(("--bit_precision", "many"))


def test_workspace_learns_and_reads_back() -> None:
    workspace = Workspace(REGRESSOR)
    for _ in range(200):
        workspace.learn("1 |p x")
    assert workspace.predict("|p x") == pytest.approx(1.0, abs=0.01)
    assert Workspace.read(REGRESSOR, workspace.serialize()).predict("|p x") == workspace.predict("|p x")


def test_workspace_writes_the_same_bytes_after_predictions() -> None:
    """VW counts predictions in its model file; a learner that was asked would differ from one that was not."""
    asked, silent = Workspace(REGRESSOR), Workspace(REGRESSOR)
    for workspace in (asked, silent):
        workspace.learn("1 |p x")
    asked.predict("|p x")
    assert asked.serialize() == silent.serialize()


def test_workspace_refuses_to_write_weights_that_are_not_finite() -> None:
    workspace = Workspace(REGRESSOR)
    workspace.learn("1 |p x")
    workspace._vw.weights()[0] = nan
    with pytest.raises(BadState, match="not finite"):
        workspace.serialize()


def test_workspace_refuses_to_read_what_is_no_model() -> None:
    with pytest.raises(BadState):
        Workspace.read(REGRESSOR, b"no model")


def test_only_one_file_imports_vowpal_wabbit(root: Path) -> None:
    importers = {
        path.relative_to(root).as_posix()
        for package in ("bandit", "cluster", "replicas", "serve")
        for path in (root / package).rglob("*.py")
        if re.search(r"^\s*(?:import|from) vowpal", path.read_text(), re.MULTILINE)
    }
    assert importers == {"bandit/vowpal.py"}


def test_vowpal_learns_which_arm_is_best_for_one_caller() -> None:
    policy = VowpalPolicy()
    context = Context(extract("a cat"), ARMS)
    rng = Random(3)
    for number in range(400):
        decision = policy.decide(context, rng)
        quality = 0.9 if decision.arm == "gan@one" else 0.3
        policy.learn(Record(str(number), context, decision, decision.arm, 0.1, 0.001, quality))
    assert policy.decide(context, rng).probabilities["gan@one"] > 0.8


def test_vowpal_earns_more_than_the_uniform_choice() -> None:
    later = [one for seed in range(4) for one in run(VowpalPolicy(), 800, seed)[400:]]
    assert mean(one.expected for one in later) > mean(one.uniform for one in later) + 0.03


def test_vowpal_keeps_its_bandit_bytes_when_a_record_has_no_propensity() -> None:
    policy = VowpalPolicy(VowpalOptions(bits=12))
    context = Context(extract("a cat"), ARMS)
    policy.learn(Record("1", context, Decision("gan@one", 0.3, {}), "flow@full", 0.5, 0.025, 0.9))
    assert policy._bandit.serialize() == VowpalPolicy(VowpalOptions(bits=12))._bandit.serialize()
