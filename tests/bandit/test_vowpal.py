from __future__ import annotations

import re
from dataclasses import replace
from math import nan
from pathlib import Path
from random import Random
from statistics import mean

import pytest

from bandit.context import Context, Decision, Record
from bandit.envelope import pack, unpack
from bandit.errors import BadState, UnknownPolicy
from bandit.features import extract
from bandit.simulation import ARMS, prompt, run
from bandit.vowpal import VowpalOptions, VowpalPolicy, Workspace, bootstrap

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
    fresh = VowpalPolicy(VowpalOptions(bits=12))
    assert policy._members["bandit"].serialize() == fresh._members["bandit"].serialize()


TRUTH = {"gan@one": (0.9, 0.1), "diffusion@20": (0.5, 0.5), "flow@full": (0.1, 0.9)}  # of single and of relation
EXPLORATIONS = ("squarecb", "epsilon", "softmax", "bag")


def taught(exploration: str, arm_features: str) -> VowpalPolicy:
    """A policy that has seen each arm's opposite gifts for two kinds of prompt."""
    policy = VowpalPolicy(VowpalOptions(bits=14, exploration=exploration, arm_features=arm_features))
    rng = Random(1)
    for number in range(500):
        kind = rng.randrange(2)
        context = Context(extract(prompt(("single", "relation")[kind], rng)), ARMS)
        arm = rng.choice(ARMS)
        drawn = Decision(arm.name, 1 / 3, {})
        quality = TRUTH[arm.name][kind]
        policy.learn(Record(str(number), context, drawn, arm.name, arm.service_s, arm.price_usd, quality))
    return policy


def strangeness(policy: VowpalPolicy) -> float:
    """How far a newcomer's probability beside the middling arm is from its sibling's, at most over kinds of prompt."""
    furthest = 0.0
    for known, new in ((ARMS[0], replace(ARMS[0], price_usd=0.0011)), (ARMS[2], replace(ARMS[2], price_usd=0.023))):
        newcomer = replace(new, name=f"next@{new.preset}", tier="next")
        for kind in ("single", "relation"):
            features = extract(prompt(kind, Random(5)))
            shares = [
                policy.decide(Context(features, (ARMS[1], arm)), Random(0)).probabilities[arm.name]
                for arm in (known, newcomer)
            ]
            furthest = max(furthest, abs(shares[0] - shares[1]))
    return furthest


@pytest.mark.parametrize("exploration", EXPLORATIONS)
def test_a_newcomer_of_a_known_kind_starts_as_its_sibling_does(exploration: str) -> None:
    """Nobody ever drew it: price, size, family and preset, crossed with the prompt, say what its likes were good at."""
    assert strangeness(taught(exploration, "described")) < 0.2


@pytest.mark.parametrize("exploration", EXPLORATIONS)
def test_a_newcomer_known_by_name_alone_starts_as_a_stranger(exploration: str) -> None:
    assert strangeness(taught(exploration, "named")) > 0.5


def test_explorations_give_the_probabilities_of_their_kind() -> None:
    context = Context(extract("a cat"), ARMS)
    shares = {
        one: sorted(taught(one, "described").decide(context, Random(0)).probabilities.values()) for one in EXPLORATIONS
    }
    # VW's epsilon of 0.05 and the floor of 0.05 over three arms.
    assert shares["epsilon"][:2] == pytest.approx([0.95 * 0.05 / 3 + 0.05 / 3] * 2)
    assert shares["softmax"][0] < shares["softmax"][1] < shares["softmax"][2]
    assert shares["squarecb"][0] < shares["squarecb"][1] < shares["squarecb"][2]
    assert all(share * 5 == pytest.approx(round(share * 5)) for share in unmixed(shares["bag"], 0.05))


def unmixed(shares: list[float], floor: float) -> list[float]:
    return [(share - floor / len(shares)) / (1 - floor) for share in shares]


def test_bootstrap_is_poisson_and_the_same_for_a_vote() -> None:
    times = [bootstrap(f"d{number}", "bandit0") for number in range(20_000)]
    assert mean(times) == pytest.approx(1.0, abs=0.03)
    assert times.count(0) / len(times) == pytest.approx(0.3679, abs=0.012)
    assert times.count(3) / len(times) == pytest.approx(0.0613, abs=0.006)
    others = [bootstrap(f"d{number}", "bandit1") for number in range(20_000)]
    assert mean(one * other for one, other in zip(times, others, strict=True)) == pytest.approx(1.0, abs=0.05)


def test_a_state_of_other_explorations_or_features_is_refused() -> None:
    policy = VowpalPolicy(VowpalOptions(bits=12))
    for change in ({"exploration": "epsilon"}, {"arm_features": "named"}, {"exploration": "bag"}, {"bag_size": 4}):
        with pytest.raises(BadState, match="was learned with"):
            policy.restore(VowpalPolicy(VowpalOptions(bits=12, **change)).state())


def test_a_state_from_before_there_were_explorations_is_refused() -> None:
    policy = VowpalPolicy(VowpalOptions(bits=12))
    options = policy.options.learned_with()
    for added in ("exploration", "greedy_epsilon", "softmax_lambda", "bag_size", "arm_features"):
        del options[added]
    _, parts = unpack(
        policy.state(),
        "vowpal",
        policy.options.learned_with(),
        frozenset({"quality", "price_times", "latency", "bandit"}),
    )
    with pytest.raises(BadState, match="learn anew"):
        policy.restore(pack("vowpal", options, 0, parts))
