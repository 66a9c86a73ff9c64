from __future__ import annotations

import numpy as np
import pytest

from bandit.context import Weights
from bandit.errors import UnknownPolicy
from bandit.policies import NAMES
from bandit.replay.entrants import Start, entrants, options_from
from bandit.replay.peers import PEERS, library, peer
from bandit.replay.trial import Trial

NO_VECTORS = np.zeros((9, 0), dtype=np.float32)
START = Start(Trial(Weights()), NO_VECTORS, seed=0)


def test_every_policy_that_needs_no_option_takes_part_by_default() -> None:
    labels = {one.label for one in entrants([], {})}
    assert "fixed" not in labels  # it needs an arm
    assert labels == set(NAMES) - {"fixed"}


def test_one_policy_takes_part_with_several_options() -> None:
    found = entrants(['fixed={"arm": "a"}', 'fixed={"arm": "b"}'], {"floor": 0.1})
    built = [one.make(START) for one in found]
    assert [(one.options.arm, one.options.floor) for one in built] == [("a", 0.1), ("b", 0.1)]  # type: ignore[attr-defined]


def test_own_options_go_before_shared_ones() -> None:
    (one,) = entrants(['epsilon_greedy={"floor": 0.2}'], {"floor": 0.1})
    assert one.make(START).options.floor == 0.2  # type: ignore[attr-defined]


def test_policy_that_learns_from_features_is_built_for_the_schema() -> None:
    one, two = entrants(["vowpal", "uniform"], {}, "words-1+minilm-1")
    assert one.make(START).options.features_schema == "words-1+minilm-1"  # type: ignore[attr-defined]
    two.make(START)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["best"], "there is no policy 'best'; known"),
        (['vowpal={"flour": 1}'], "no option 'flour'"),
        (["vowpal={floor}"], "is not JSON"),
        (["vowpal=[1]"], "is not a JSON object"),
        (["uniform", "uniform"], "named twice"),
    ],
)
def test_wrong_name_or_option_is_told_before_anything_runs(names: list[str], says: str) -> None:
    with pytest.raises(UnknownPolicy, match=says):
        entrants(names, {})


def test_options_of_the_command_line_are_a_json_object() -> None:
    assert options_from('{"floor": 0.5}', "--options") == {"floor": 0.5}
    with pytest.raises(UnknownPolicy, match="--options '3' is not a JSON object"):
        options_from("3", "--options")


def test_policy_that_cannot_hold_a_mean_cost_says_so_under_a_ceiling() -> None:
    (one,) = entrants(["uniform"], {})
    with pytest.raises(UnknownPolicy, match="no option 'budget_usd'"):
        one.make(Start(Trial(Weights(), ceiling_usd=0.1), NO_VECTORS, seed=0))


def test_unknown_peer_and_missing_library_say_what_to_do() -> None:
    with pytest.raises(UnknownPolicy, match="known: paretobandit"):
        peer("nobody")
    with pytest.raises(UnknownPolicy, match="pip install some-package"):
        library("no_such_module_anywhere", "some-package")


@pytest.mark.parametrize("name", PEERS)
def test_peer_without_vectors_asks_for_them(name: str) -> None:
    with pytest.raises(UnknownPolicy, match=r"--vectors FILE"):
        peer(name).make(START)
