"""The adapters, beside the libraries themselves where they are installed; they are no dependency of ours."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from bandit.context import Weights
from bandit.features import extract
from bandit.replay.entrants import Entrant
from bandit.replay.harness import Harness
from bandit.replay.peers import PEERS, peer
from bandit.replay.scenario import Scenario
from bandit.replay.table import Table
from bandit.replay.trial import Trial

RNG = np.random.default_rng(0)
SIDE = RNG.random(500) < 0.5
VECTORS = (RNG.normal(0, 0.1, (500, 8)) + np.where(SIDE, 1.0, -1.0)[:, None]).astype(np.float32)
QUALITY = np.stack([np.where(SIDE, 0.9, 0.3), np.where(SIDE, 0.3, 0.9), np.full(500, 0.5)], axis=1)
TABLE = Table(
    "sides", tuple(map(str, range(500))), ("a",) * 500, ("left", "right", "middle"), QUALITY,
    np.tile([0.001, 0.002, 0.004], (500, 1)), None,
)  # fmt: skip
FEATURES = [replace(extract("a"), vector=tuple(one)) for one in VECTORS.tolist()]

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours


def installed(name: str) -> Entrant:
    package = {"paretobandit": "pareto_bandit"}.get(name.partition("-")[0], name.partition("-")[0])
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; `pip install --no-deps` it to run this")
    return peer(name)


@pytest.mark.parametrize("name", PEERS)
def test_peer_learns_what_the_vectors_tell(name: str) -> None:
    outcome = Harness(TABLE, FEATURES, seeds=1).run(Trial(Weights()), [installed(name)])
    (line,) = [one for one in outcome.comparison.lines if one.kind == "peer"]
    assert line.quality > 0.8  # the best fixed arm: 0.6


@pytest.mark.parametrize("name", PEERS)
def test_peer_takes_in_a_newcomer_and_lets_a_removed_arm_go(name: str) -> None:
    entrant = installed(name)
    for kind in ("newcomer", "removal"):
        harness = Harness(TABLE, FEATURES, seeds=1, scenario=Scenario(kind, "right", 250))
        adopted = harness.run(Trial(Weights()), [entrant]).adoptions[name]
        if kind == "removal":
            assert adopted.share_before > 0.2
            assert adopted.share_at_end == 0


def test_paretobandit_holds_a_mean_cost_and_others_say_that_they_cannot() -> None:
    trial = Trial(Weights(), ceiling_usd=0.0013)
    outcome = Harness(TABLE, FEATURES, seeds=1).run(trial, [installed("paretobandit-pacer-only")])
    (line,) = [one for one in outcome.comparison.lines if one.kind == "peer"]
    assert abs(line.off_ceiling_percent or 0) < 20
    outcome = Harness(TABLE, FEATURES, seeds=1).run(trial, [installed("mabwiser-linucb")])
    assert "cannot hold a mean cost" in outcome.left_out["mabwiser-linucb"]


def test_paretobandit_is_told_of_a_new_price() -> None:
    scenario = Scenario("repricing", "middle", 250, times=0.01)
    outcome = Harness(TABLE, FEATURES, seeds=1, scenario=scenario).run(Trial(Weights()), [installed("paretobandit")])
    assert outcome.adoptions["paretobandit"].share_at_end < 1
