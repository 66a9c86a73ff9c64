"""Experiments on live requests: a real journal and ledger, fake tiers, policies that misbehave on purpose.

Over 400 lines, since every kind of experiment is tried on the same few callers and policies.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

import bandit.uniform
from bandit.context import Context, Decision
from bandit.experiments.ledger import Ledger
from serve.experiments_deciding import Deciders
from tests.serve.in_process_gateway import Setting

FIXED = {
    "a": {"name": "a", "policy": "fixed", "options": {"arm": "small@fast"}},
    "b": {"name": "b", "policy": "fixed", "options": {"arm": "large@full"}},
}
SPLIT: dict[str, Any] = {"experiment_id": "split-1", "variants": [FIXED["a"], FIXED["b"]]}
USERS = [f"user {number}" for number in range(8)]
BROKEN = {"name": "b", "policy": "uniform"}


def why(setting: Setting, user: str | None = None, **body: Any) -> dict[str, Any]:
    response = setting.generate(user=user, **body)
    assert response.status_code == 200, response.text
    return response.json()["switchboard"]


def break_uniform(monkeypatch: pytest.MonkeyPatch, answer: Decision | Exception) -> None:
    def decide(self: object, context: Context, rng: Random) -> Decision:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(bandit.uniform.UniformPolicy, "decide", decide)


@pytest.fixture
def fixed_setting(tmp_path: Path) -> Any:
    """With a live policy and a fallback that no test breaks."""
    from tests.serve.in_process_gateway import CATALOGUE

    live = "{name: fixed, options: {arm: small@fast}, fallback: round_robin}"
    made = Setting(tmp_path, CATALOGUE.replace("{name: uniform}", live))
    yield made
    made.close()


def test_every_user_keeps_one_variant_whose_policy_decides(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    first = {user: why(setting, user) for user in USERS}
    assert {told["variant"] for told in first.values()} == {"split-1:a", "split-1:b"}
    for user, told in first.items():
        assert told["decided_arm"] == {"split-1:a": "small@fast", "split-1:b": "large@full"}[told["variant"]]
        assert why(setting, user)["variant"] == told["variant"]
    stored = setting.rows("SELECT variant, count(*) FROM decisions GROUP BY variant ORDER BY variant")
    told = Counter(told["variant"] for told in first.values())
    assert stored == [(name, 2 * count) for name, count in sorted(told.items())]


def test_another_gateway_gives_every_user_the_same_variant(setting: Setting, tmp_path: Path) -> None:
    setting.run_experiment(**SPLIT)
    first = {user: why(setting, user)["variant"] for user in USERS}
    other = Setting(tmp_path)
    other.look()
    assert {user: why(other, user)["variant"] for user in USERS} == first
    other.close()


def test_requests_for_a_tier_take_no_part(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    told = [why(setting, user, model=model) for user in USERS[:4] for model in ("small", "large@draft")]
    assert {one["variant"] for one in told} == {None}
    assert {one["policy"] for one in told} == {"uniform"}


def test_requests_without_a_user_are_units_of_their_own(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    assert {why(setting)["variant"] for _ in range(16)} == {"split-1:a", "split-1:b"}


def test_requests_are_the_units_where_the_plan_says_so(setting: Setting) -> None:
    setting.run_experiment(**SPLIT, unit="request")
    assert {why(setting, "one user")["variant"] for _ in range(16)} == {"split-1:a", "split-1:b"}


def test_a_share_of_the_traffic_leaves_the_others_to_the_live_policy(setting: Setting) -> None:
    setting.run_experiment(**SPLIT, traffic=0.5)
    told = [why(setting, f"user {number}") for number in range(40)]
    variants = Counter(one["variant"] for one in told)
    assert 10 <= variants[None] <= 30
    assert {one["policy"] for one in told if one["variant"] is None} == {"uniform"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RuntimeError("out of order"), "policy uniform raised RuntimeError: out of order"),
        (Decision("small@fast", 0.5, {"small@fast": 0.5}), "gave a decision that cannot be: arm_missing"),
    ],
)
def test_a_variant_that_misbehaves_is_replaced_stopped_and_written_down(
    fixed_setting: Setting, monkeypatch: pytest.MonkeyPatch, answer: Decision | Exception, words: str
) -> None:
    setting = fixed_setting
    setting.run_experiment(experiment_id="split-1", variants=[FIXED["a"], BROKEN])
    members = {user: why(setting, user)["variant"] for user in USERS}
    break_uniform(monkeypatch, answer)
    unlucky = [user for user in USERS if members[user] == "split-1:b"]
    served = why(setting, unlucky[0])
    assert (served["variant"], served["policy"]) == ("split-1:b", "fallback:round_robin")
    # From the next request on its units get the live policy, before the ledger knows of it.
    for user in unlucky:
        assert (why(setting, user)["variant"], why(setting, user)["policy"]) == (None, "fixed")
    setting.look()
    state = Ledger(setting.journal).experiment("split-1")
    assert words in state.stopped_variants["b"].reason
    assert state.stopped_variants["b"].actor == "gateway test"
    assert state.status == "stopped"  # its last variant beside the control
    assert not setting.deciders.faults
    assert setting.deciders.fallbacks == 1
    assert why(setting, unlucky[0])["variant"] is None


def test_a_variant_whose_features_cannot_be_had_here_is_replaced_and_stopped(setting: Setting) -> None:
    """It asks for sentence vectors where there is no encoder; that was an error to the caller."""
    vectors = {"name": "b", "policy": "factored", "options": {"features_schema": "words-1+minilm-1"}}
    setting.run_experiment(experiment_id="split-1", variants=[FIXED["a"], vectors])
    told = [why(setting, user) for user in USERS]
    assert [one["policy"] for one in told if one["variant"] == "split-1:b"] == ["fallback:uniform"]
    setting.look()
    assert "words-1+minilm-1" in setting.ledger.experiment("split-1").stopped_variants["b"].reason


@pytest.mark.parametrize("ceiling", [1e300, 5e-324])
def test_no_ceiling_of_a_caller_makes_a_policy_misbehave(setting: Setting, ceiling: float) -> None:
    variants = [{"name": name, "policy": policy} for name, policy in (("a", "factored"), ("b", "linucb"))]
    setting.run_experiment(experiment_id="split-1", variants=variants)
    for user in USERS:
        assert not why(setting, user, max_cost_usd=ceiling, max_latency_s=ceiling)["policy"].startswith("fallback")
    assert not setting.deciders.faults


def test_a_fault_that_many_gateways_meet_is_written_once(
    fixed_setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setting = fixed_setting
    variants = [FIXED["a"], BROKEN, {**FIXED["b"], "name": "c"}]
    setting.run_experiment(experiment_id="split-1", variants=variants)
    other = Setting(tmp_path)
    other.look()
    break_uniform(monkeypatch, RuntimeError("no"))
    for one in (setting, other):
        for user in USERS:
            one.generate(user=user)
        assert ("split-1", "b") in one.deciders.faults
    looks = [threading.Thread(target=one.look) for one in (setting, other)]
    for thread in looks:
        thread.start()
    for thread in looks:
        thread.join(30)
    kinds = [event.kind for event in setting.ledger.events("split-1")]
    assert kinds == ["created", "started", "variant_stopped"]
    setting.look()
    assert {why(setting, user)["variant"] for user in USERS} == {None, "split-1:a", "split-1:c"}
    other.close()


def test_a_control_that_misbehaves_ends_the_experiment(fixed_setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = fixed_setting
    setting.run_experiment(experiment_id="split-1", variants=[BROKEN | {"name": "a"}, FIXED["b"]])
    break_uniform(monkeypatch, RuntimeError("no"))
    while not setting.deciders.faults:
        why(setting)
    assert {why(setting, user)["variant"] for user in USERS} == {None}
    setting.look()
    assert setting.ledger.experiment("split-1").status == "stopped"


def test_a_shadow_decides_beside_and_acts_on_nothing(setting: Setting) -> None:
    setting.run_experiment(experiment_id="shadow-1", kind="shadow", variants=[FIXED["a"], FIXED["b"]])
    told = [why(setting, user) for user in USERS[:5]]
    assert {(one["variant"], one["arm"]) for one in told} == {("shadow-1:a", "small@fast")}
    setting.shadow_log.flush()
    stored = setting.rows("SELECT decision_id, variant, policy, arm FROM shadow_decisions")
    assert sorted(stored) == sorted((one["decision_id"], "shadow-1:b", "fixed", "large@full") for one in told)


def test_a_shadow_that_misbehaves_is_stopped_and_no_request_knows(
    fixed_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = fixed_setting
    variants = [FIXED["a"], BROKEN, {**FIXED["b"], "name": "c"}]
    setting.run_experiment(experiment_id="shadow-1", kind="shadow", variants=variants)
    break_uniform(monkeypatch, RuntimeError("no"))
    told = [why(setting) for _ in range(3)]
    assert {(one["variant"], one["policy"]) for one in told} == {("shadow-1:a", "fixed")}
    choice = setting.deciders.choose("alice", "dec_1", time.time())
    assert [name for name, _ in choice.shadows] == ["c"]  # before the ledger knows of it
    setting.look()
    assert "raised RuntimeError" in setting.ledger.experiment("shadow-1").stopped_variants["b"].reason
    setting.shadow_log.flush()
    assert setting.rows("SELECT variant, count(*) FROM shadow_decisions GROUP BY variant") == [("shadow-1:c", 3)]


def test_an_apprentice_is_logged_beside_its_master(setting: Setting) -> None:
    plan = {"experiment_id": "app-1", "kind": "apprentice", "takeover": 0.9, "variants": [FIXED["a"], FIXED["b"]]}
    setting.run_experiment(**plan)
    assert why(setting)["variant"] == "app-1:a"
    setting.shadow_log.flush()
    assert setting.rows("SELECT variant FROM shadow_decisions") == [("app-1:b",)]


def test_pools_keep_each_variant_to_its_own_tiers(setting: Setting) -> None:
    variants = [
        {"name": "a", "policy": "uniform", "pool": ["small"]},
        {"name": "b", "policy": "uniform", "pool": ["large@draft", "large@full"]},
    ]
    setting.run_experiment(experiment_id="pools-1", kind="pools", variants=variants)
    seen = Counter((one["variant"], one["tier"]) for one in (why(setting, user) for user in USERS))
    assert set(seen) == {("pools-1:a", "small"), ("pools-1:b", "large")}
    unlucky = [user for user in USERS if why(setting, user)["variant"] == "pools-1:b"]
    # No tier of its pool draws this size: another one does, decided by the fallback, and nobody is stopped.
    served = why(setting, unlucky[0], size="128x32")
    assert (served["variant"], served["policy"], served["tier"]) == ("pools-1:b", "fallback:uniform", "small")
    assert not setting.deciders.faults


POOLS = [
    {"name": "a", "policy": "uniform", "pool": ["small"]},
    {"name": "b", "policy": "uniform", "pool": ["large"]},
]


@pytest.mark.parametrize("ceiling", [{"max_cost_usd": 0.005}, {"max_latency_s": 0.015}])
def test_a_callers_ceiling_beats_a_pool(setting: Setting, ceiling: dict[str, float]) -> None:
    """The large tier costs 0.01 and takes 0.02 s at least; the small one is within both ceilings."""
    setting.run_experiment(experiment_id="pools-1", kind="pools", variants=POOLS)
    members = {user: why(setting, user)["variant"] for user in USERS}
    for user, variant in members.items():
        told = why(setting, user, **ceiling)
        assert (told["variant"], told["tier"], told["limits_met"]) == (variant, "small", True)
        assert told["policy"] == ("fallback:uniform" if variant == "pools-1:b" else "uniform")
    assert not setting.deciders.faults


def test_a_ceiling_that_no_arm_meets_leaves_a_pool_alone(setting: Setting) -> None:
    setting.run_experiment(experiment_id="pools-1", kind="pools", variants=POOLS)
    told = [why(setting, user, max_cost_usd=1e-9) for user in USERS]
    assert {(one["variant"], one["tier"], one["policy"]) for one in told} == {
        ("pools-1:a", "small", "uniform"),
        ("pools-1:b", "large", "uniform"),
    }


WEIGHTS = {"quality": 1.0, "latency_per_s": 0.0, "cost_per_usd": 7.0}


def watch_uniform(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """What the policy is asked with."""
    asked: list[Context] = []
    decide = bandit.uniform.UniformPolicy.decide

    def watched(self: Any, context: Context, rng: Random) -> Decision:
        asked.append(context)
        return decide(self, context, rng)

    monkeypatch.setattr(bandit.uniform.UniformPolicy, "decide", watched)
    return asked


def test_a_variant_decides_with_weights_of_its_own_and_the_callers_are_recorded(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [FIXED["a"], {"name": "b", "policy": "uniform", "weights": WEIGHTS}]
    setting.run_experiment(experiment_id="w-1", variants=variants, judged_by=WEIGHTS)
    asked = watch_uniform(monkeypatch)
    for user in USERS:
        why(setting, user, quality="low", max_latency_s=9.0)
    assert {(context.weights.cost_per_usd, context.limits.latency_s) for context in asked} == {(7.0, 9.0)}
    stored = setting.rows("SELECT DISTINCT variant, weights FROM decisions ORDER BY variant")
    told = [(name, json.loads(weights)) for name, weights in stored]
    assert [(name, one["cost_per_usd"], one["limits"]["latency_s"]) for name, one in told] == [
        ("w-1:a", 900.0, 9.0),
        ("w-1:b", 900.0, 9.0),
    ]


def test_a_shadow_sees_the_callers_weights_and_not_its_controls(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [{**FIXED["a"], "weights": WEIGHTS}, {"name": "b", "policy": "uniform"}]
    setting.run_experiment(experiment_id="s-1", kind="shadow", variants=variants, judged_by=WEIGHTS)
    asked = watch_uniform(monkeypatch)
    why(setting, quality="low")
    assert [context.weights.cost_per_usd for context in asked] == [900.0]


def test_a_switchback_gives_everybody_the_slots_variant_and_marks_the_carry_over(setting: Setting) -> None:
    plan = {**SPLIT, "experiment_id": "sb-1", "kind": "switchback", "slot_s": 60, "carry_over_s": 20}
    setting.run_experiment(**plan)
    (experiment,) = setting.deciders.in_use.running
    columns = set()
    for slot in range(-4, 6):  # a clock that was set back is before the start
        for into_s, carry in ((1.0, True), (40.0, False)):
            now_s = experiment.origin_s + 60 * slot + into_s
            told = {setting.deciders.choose(user, "dec_1", now_s).variant for user in USERS}
            (column,) = told
            assert str(column).endswith(":carry") == carry
            columns.add(column)
    assert columns == {"sb-1:a", "sb-1:b", "sb-1:a:carry", "sb-1:b:carry"}
    assert why(setting, "alice")["variant"] in ("sb-1:a:carry", "sb-1:b:carry")


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_clock_that_jumps_mislabels_at_worst(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    plan = {**SPLIT, "experiment_id": "sb-1", "kind": "switchback", "slot_s": 60, "carry_over_s": 20}
    setting.run_experiment(**plan)
    real = time.time
    monkeypatch.setattr("serve.gateway.time.time", lambda: real() + jump_s)
    assert why(setting, "alice")["variant"].startswith("sb-1:")


def test_starts_and_stops_while_requests_run_break_none(setting: Setting) -> None:
    """What is in use is replaced as a whole, thousands of times a second here, and each request has one of the two."""
    setting.run_experiment(**SPLIT)
    running = setting.deciders.in_use
    setting.ledger.stop("split-1", "test", time.time(), reason="enough")
    setting.look()
    stopped = setting.deciders.in_use
    assert (len(running.running), len(stopped.running)) == (1, 0)
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            setting.deciders.use(running)
            setting.deciders.use(stopped)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        told = [why(setting, user) for _ in range(5) for user in USERS[:4]]
    finally:
        done.set()
        thread.join(30)
    for one in told:
        assert (one["variant"] is None) == (one["policy"] == "uniform")


def test_a_promoted_policy_is_live_until_it_is_rolled_back(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    setting.ledger.promote("split-1", "b", "test", time.time(), force=True)
    setting.look()
    told = [why(setting, user) for user in USERS]
    assert {(one["variant"], one["policy"], one["promoted_by"]) for one in told} == {(None, "fixed", "split-1")}
    assert {one["arm"] for one in told} == {"large@full"}
    health = setting.request("GET", "/healthz").json()
    assert (health["policy"]["name"], health["policy"]["promoted_by"]) == ("fixed", "split-1")
    assert health["experiments"] == []
    setting.ledger.roll_back("split-1", "test", time.time(), reason="it cost too much")
    setting.look()
    told = [why(setting, user) for user in USERS]
    assert {(one["variant"], one["policy"], one["promoted_by"]) for one in told} == {(None, "uniform", None)}


def test_health_names_the_experiments_that_run(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    (told,) = setting.request("GET", "/healthz").json()["experiments"]
    assert (told["experiment_id"], told["kind"], told["control"]) == ("split-1", "split", "a")
    assert told["variants"]["b"] == {"policy": "fixed", "snapshot_version": None, "stopped": False}


def test_a_decision_tells_its_variant(setting: Setting) -> None:
    setting.run_experiment(**SPLIT)
    told = why(setting, "alice")
    assert setting.request("GET", f"/v1/decisions/{told['decision_id']}").json()["variant"] == told["variant"]


def test_deciders_without_experiments_ask_the_live_policy(setting: Setting) -> None:
    deciders = Deciders(setting.deciders.in_use.live, setting.shadow_log.add, Random(1))
    choice = deciders.choose("alice", "dec_1", 0.0)
    assert (choice.decider, choice.variant, choice.shadows) == (setting.deciders.in_use.live, None, ())
