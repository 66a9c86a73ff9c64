"""The routes of experiments: what they take, answer and refuse.

Over 400 lines, since one life of an experiment is told through all its routes, refusals included.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from bandit.experiments.design import plan_from_json
from serve.admin import Admin, admin_of
from tests.serve.in_process_gateway import CATALOGUE, Setting, error_of

PLAN: dict[str, Any] = {
    "experiment_id": "exp-1",
    "hypothesis": "the large tier is worth its price",
    "control": "a",
    "variants": [
        {"name": "a", "policy": "uniform"},
        {"name": "b", "policy": "fixed", "options": {"arm": "large@full"}},
    ],
}


def post(setting: Setting, path: str, body: Any = None, **options: Any) -> httpx.Response:
    return setting.request("POST", f"/v1/experiments{path}", json={} if body is None else body, **options)


def get(setting: Setting, path: str = "") -> httpx.Response:
    return setting.request("GET", f"/v1/experiments{path}")


def created(setting: Setting, *commands: tuple[str, dict[str, Any]]) -> None:
    assert post(setting, "", PLAN).status_code == 201
    for name, body in commands:
        response = post(setting, f"/exp-1/{name}", body)
        assert response.status_code == 200, response.text


def test_an_experiment_goes_all_the_way(setting: Setting) -> None:
    response = post(setting, "", PLAN, headers={"x-switchboard-actor": "alice"})
    assert response.status_code == 201
    told = response.json()
    assert (told["object"], told["status"], told["weights"]) == ("experiment", "created", {"a": 0.5, "b": 0.5})
    assert told["plan"]["hypothesis"] == PLAN["hypothesis"]

    assert post(setting, "/exp-1/start").json()["status"] == "running"
    assert setting.generate(user="u").json()["switchboard"]["variant"]  # seen at once, without a look of the watch
    ramped = post(setting, "/exp-1/ramp", {"traffic": 0.5, "weights": {"a": 0.9, "b": 0.1}}).json()
    assert (ramped["traffic"], ramped["weights"]) == (0.5, {"a": 0.9, "b": 0.1})
    assert ramped["counted_since"] == "its weights were changed"
    stopped = post(setting, "/exp-1/stop", {"reason": "seen enough"}).json()
    assert (stopped["status"], stopped["ended"]["reason"]) == ("stopped", "seen enough")
    assert post(setting, "/exp-1/promote", {"variant": "b", "force": True}).json()["promoted"] == "b"
    assert setting.generate().json()["switchboard"]["promoted_by"] == "exp-1"
    listed = get(setting).json()
    assert [(one["experiment_id"], one["status"]) for one in listed["data"]] == [("exp-1", "promoted")]
    assert listed["live_policy"] == {"name": "fixed", "options": {"arm": "large@full"}, "promoted_by": "exp-1"}
    assert post(setting, "/exp-1/rollback", {"reason": "too dear"}).json()["status"] == "rolled_back"
    assert get(setting).json()["live_policy"]["promoted_by"] is None

    events = get(setting, "/exp-1").json()["events"]
    assert [(one["kind"], one["actor"]) for one in events] == [
        ("created", "alice"),
        ("started", "operator"),
        ("ramped", "operator"),
        ("stopped", "operator"),
        ("promoted", "operator"),
        ("rolled_back", "operator"),
    ]
    assert events[4]["forced"] is True
    assert "nobody has won" in events[4]["evidence"]
    json.dumps(events)


def test_one_variant_is_stopped_and_the_others_go_on(setting: Setting) -> None:
    three = {**PLAN, "variants": [*PLAN["variants"], {"name": "c", "policy": "round_robin"}]}
    assert post(setting, "", three).status_code == 201
    post(setting, "/exp-1/start")
    told = post(setting, "/exp-1/stop", {"variant": "c", "reason": "a typo"}).json()
    assert (told["status"], told["stopped_variants"]["c"]["reason"]) == ("running", "a typo")
    again = post(setting, "/exp-1/stop", {"variant": "c", "reason": "again"})
    assert "a typo" in error_of(again, 409)["message"]


def test_a_report_shows_every_variant_and_a_sentence(setting: Setting) -> None:
    created(setting, ("start", {}))
    for number in range(6):
        setting.generate(user=f"user {number}")
    told = get(setting, "/exp-1/report").json()
    assert told["object"] == "experiment.report"
    assert sum(one["exposures"] for one in told["variants"]) == 6
    assert [one["name"] for one in told["variants"]] == ["a", "b"]
    assert told["winner"] is None
    assert "nobody has won" in told["verdict"]


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"experiment_id": "No Name"}, "experiment_id", "allowed"),
        ({"hypothesis": ""}, "hypothesis", "say"),
        ({"hypothesis": None}, "hypothesis", "needs one"),
        ({"traffic": 2}, "traffic", "allowed"),
        ({"alpha": "x"}, "alpha", "allowed"),
        ({"kind": "lottery"}, "kind", "switchback"),
        ({"control": "z"}, "control", "a, b"),
        ({"variants": []}, "variants", "2 to 20"),
        ({"variants": [{"name": "a", "policy": "uniform"}] * 2}, "variants", "twice"),
        ({"variants": "ab"}, "variants", "a list"),
        ({"surprise": 1}, "surprise", "Unknown field"),
        ({"variants": [{"name": "a", "policy": "uniform", "surprise": 1}] * 2}, "variants", "nobody reads"),
        ({"guardrails": [{"metric": "beauty", "limit": "bound", "value": 1}]}, "guardrails", "error_rate"),
    ],
)
def test_create_refuses_a_bad_plan_and_stores_nothing(
    refusing: Setting, change: dict[str, Any], param: str, words: str
) -> None:
    error = error_of(post(refusing, "", {**PLAN, **change}), 400)
    assert words in error["message"]
    assert (error["code"], error["param"]) == ("unknown_parameter" if param == "surprise" else "invalid_plan", param)
    assert get(refusing).json()["data"] == []


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"policy": "oracle"}, "known:"),
        ({"policy": "uniform", "options": {"speed": 1}}, "no option"),
        ({"policy": "factored", "options": {"floor": 7}}, "floor"),
        ({"policy": "fixed", "options": {"arm": "gone@fast"}}, "small@fast"),
        ({"policy": "uniform", "weight": 0.7}, "add up to"),
    ],
)
def test_create_refuses_a_variant_that_cannot_decide_here(
    refusing: Setting, variant: dict[str, Any], words: str
) -> None:
    plan = {**PLAN, "variants": [{"name": "a", "policy": "uniform", "weight": 0.5}, {"name": "b", **variant}]}
    if "weight" not in variant:
        del plan["variants"][0]["weight"]
    error = error_of(post(refusing, "", plan), 400)
    assert (error["code"], error["param"]) == ("invalid_plan", "variants")
    assert words in error["message"]


def test_create_refuses_a_pool_of_tiers_that_are_not_there(refusing: Setting) -> None:
    variants = [{"name": name, "policy": "uniform", "pool": [pool]} for name, pool in (("a", "small"), ("b", "huge"))]
    error = error_of(post(refusing, "", {**PLAN, "kind": "pools", "variants": variants}), 400)
    assert "huge" in error["message"]
    assert "large@full" in error["message"]


def post_raw(setting: Setting, path: str, body: Any) -> httpx.Response:
    """With escapes in the JSON, as only they can send halves of surrogate pairs."""
    headers = {"content-type": "application/json"}
    return setting.request("POST", f"/v1/experiments{path}", content=json.dumps(body), headers=headers)


@pytest.mark.parametrize("bad", ["a\ud800b", "a\0b"])
@pytest.mark.parametrize(
    ("where", "param"),
    [
        (lambda bad: {"hypothesis": bad}, "hypothesis"),
        (lambda bad: {"salt": bad}, "salt"),
        (lambda bad: {"experiment_id": bad}, "experiment_id"),
        (lambda bad: {"control": bad}, "control"),
        (lambda bad: {"variants": [PLAN["variants"][0], {"name": bad, "policy": "uniform"}]}, "variants"),
        (lambda bad: {"variants": [PLAN["variants"][0], {"name": "b", "policy": bad}]}, "variants"),
        (lambda bad: {"variants": [PLAN["variants"][0], fixed_with({"arm": bad})]}, "variants"),
        (lambda bad: {"variants": [PLAN["variants"][0], fixed_with({"arm": [{"x": bad}]})]}, "variants"),
        (lambda bad: {"variants": [PLAN["variants"][0], fixed_with({bad: 1})]}, "variants"),
    ],
)
def test_create_refuses_text_that_cannot_be_told(refusing: Setting, where: Any, param: str, bad: str) -> None:
    error = error_of(post_raw(refusing, "", {**PLAN, **where(bad)}), 400)
    assert (error["code"], error["param"]) == ("invalid_plan", param)
    assert refusing.ledger.events() == ()


def fixed_with(options: dict[str, Any]) -> dict[str, Any]:
    return {"name": "b", "policy": "fixed", "options": options}


@pytest.mark.parametrize("bad", ["a\ud800b", "a\0b"])
def test_a_plan_whose_text_cannot_be_told_and_is_stored_already_breaks_no_reader(setting: Setting, bad: str) -> None:
    created(setting, ("start", {}))
    with sqlite3.connect(setting.path) as connection:
        for position, name, plan in ((3, "exp-2", {**PLAN, "hypothesis": bad}), (4, "exp-3", PLAN)):
            body = json.dumps({"plan": {**plan, "experiment_id": name}})
            row = (position, name, 1, 1.0, "created", "test", body)
            connection.execute(
                "INSERT INTO experiment_events (position, experiment_id, seq, at_s, kind, actor, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        row = (5, "exp-1", 3, 2.0, "stopped", "test", json.dumps({"reason": bad}))
        connection.execute(
            "INSERT INTO experiment_events (position, experiment_id, seq, at_s, kind, actor, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    listed = get(setting)
    assert listed.status_code == 200, listed.text
    assert [one["experiment_id"] for one in listed.json()["data"]] == ["exp-1", "exp-3"]
    assert "hypothesis" in listed.json()["unreadable"]["exp-2"]
    assert get(setting, "/exp-1").json()["ended"]["reason"] == bad
    assert "hypothesis" in error_of(get(setting, "/exp-2"), 404)["message"]


def test_a_fault_that_cannot_be_told_still_stops_its_variant(setting: Setting) -> None:
    """It is what a policy said; that it is refused would give the variant its users back."""
    created(setting, ("start", {}))
    setting.deciders.faults["exp-1", "b"] = "raised ValueError: a\ud800b\0c"
    setting.look()
    told = get(setting, "/exp-1").json()["stopped_variants"]["b"]["reason"]
    assert told == r"raised ValueError: a\ud800b\x00c"


@pytest.mark.parametrize("huge", ["9" * 400, "1e308", "1e999", "-" + "9" * 400])
@pytest.mark.parametrize("name", ["alpha", "traffic", "least_units", "slot_s", "carry_over_s", "takeover"])
def test_create_refuses_huge_numbers(refusing: Setting, name: str, huge: str) -> None:
    kind = {"slot_s": "switchback", "carry_over_s": "switchback", "takeover": "apprentice"}.get(name, "split")
    more = {"slot_s": 60, "carry_over_s": 5} if kind == "switchback" else {}
    content = json.dumps({**PLAN, "kind": kind, **more, name: "HUGE"}).replace('"HUGE"', huge)
    headers = {"content-type": "application/json"}
    error = error_of(refusing.request("POST", "/v1/experiments", content=content, headers=headers), 400)
    assert error["param"] == name


@pytest.mark.parametrize("huge", ["9" * 400, "1e308"])
@pytest.mark.parametrize(
    "change",
    [
        {"variants": [{"name": "a", "policy": "uniform", "weight": "HUGE"}, {"name": "b", "policy": "uniform"}]},
        {"variants": [PLAN["variants"][0], {"name": "b", "policy": "factored", "options": {"floor": "HUGE"}}]},
        {"judged_by": {"quality": "HUGE"}},
    ],
)
def test_create_refuses_huge_numbers_inside(refusing: Setting, change: dict[str, Any], huge: str) -> None:
    content = json.dumps({**PLAN, **change}).replace('"HUGE"', huge)
    headers = {"content-type": "application/json"}
    error_of(refusing.request("POST", "/v1/experiments", content=content, headers=headers), 400)


@pytest.mark.parametrize("body", [{"traffic": "HUGE"}, {"weights": {"a": "HUGE", "b": 0}}])
def test_ramp_refuses_huge_numbers(setting: Setting, body: dict[str, Any]) -> None:
    created(setting, ("start", {}))
    content = json.dumps(body).replace('"HUGE"', "9" * 400)
    headers = {"content-type": "application/json"}
    error_of(setting.request("POST", "/v1/experiments/exp-1/ramp", content=content, headers=headers), 400)


VECTORS = {"name": "b", "policy": "factored", "options": {"features_schema": "words-1+minilm-1"}}


def test_a_variant_that_needs_an_encoder_is_refused_where_there_is_none(setting: Setting) -> None:
    plan = {**PLAN, "variants": [PLAN["variants"][0], VECTORS]}
    error = error_of(post(setting, "", plan), 400)
    assert (error["code"], error["param"]) == ("invalid_plan", "variants")
    assert "encoder: {}" in error["message"]
    setting.ledger.create(plan_from_json(plan), "another catalogue", 1.0)
    assert "encoder: {}" in error_of(post(setting, "/exp-1/start"), 400)["message"]
    assert setting.ledger.experiment("exp-1").status == "created"


def test_a_variant_whose_tier_is_gone_is_not_started(setting: Setting) -> None:
    gone = {"name": "b", "policy": "fixed", "options": {"arm": "gone@fast"}}
    setting.ledger.create(plan_from_json({**PLAN, "variants": [PLAN["variants"][0], gone]}), "another catalogue", 1.0)
    assert "gone@fast" in error_of(post(setting, "/exp-1/start"), 400)["message"]


def test_a_variant_that_needs_an_encoder_is_taken_where_there_is_one(tmp_path: Path) -> None:
    encoding = Setting(tmp_path, CATALOGUE + "encoder: {}\n")
    assert post(encoding, "", {**PLAN, "variants": [PLAN["variants"][0], VECTORS]}).status_code == 201
    assert post(encoding, "/exp-1/start").status_code == 200
    encoding.close()


POOLS = [{"name": name, "policy": "uniform", "pool": [pool]} for name, pool in (("a", "small"), ("b", "large"))]


@pytest.mark.parametrize("traffic", [1.0, 0.4])
def test_pools_beside_live_traffic_carry_a_note(setting: Setting, traffic: float) -> None:
    told = post(setting, "", {**PLAN, "kind": "pools", "variants": POOLS, "traffic": traffic}).json()
    for answer in (told, post(setting, "/exp-1/start").json(), get(setting, "/exp-1").json()):
        assert len(answer["notes"]) == (traffic < 1)
        assert all("0.6 of all units" in note and "the same tiers" in note for note in answer["notes"])


def test_an_id_is_taken_once(setting: Setting) -> None:
    created(setting)
    assert error_of(post(setting, "", PLAN), 409)["code"] == "experiment_refused"


@pytest.mark.parametrize("path", ["/exp-9", "/exp-9/report", "/%00", "/" + "x" * 3000])
def test_an_unknown_experiment_is_not_found(refusing: Setting, path: str) -> None:
    error = error_of(get(refusing, path), 404)
    assert (error["code"], error["param"]) == ("experiment_not_found", "experiment_id")
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("start", {}),
        ("ramp", {"traffic": 0.5}),
        ("stop", {"reason": "why not"}),
        ("promote", {"variant": "b"}),
        ("rollback", {"reason": "why not"}),
    ],
)
def test_commands_for_an_unknown_experiment_are_not_found(
    refusing: Setting, command: str, body: dict[str, Any]
) -> None:
    assert error_of(post(refusing, f"/exp-9/{command}", body), 404)["code"] == "experiment_not_found"


@pytest.mark.parametrize(
    ("command", "body", "code"),
    [
        ("ramp", {"traffic": 0.5}, "experiment_refused"),
        ("stop", {"reason": "not started"}, "experiment_refused"),
        ("promote", {"variant": "b"}, "experiment_refused"),
        ("rollback", {"reason": "nothing is promoted"}, "experiment_refused"),
    ],
)
def test_commands_that_do_not_fit_the_state_are_conflicts(
    setting: Setting, command: str, body: dict[str, Any], code: str
) -> None:
    created(setting)
    assert error_of(post(setting, f"/exp-1/{command}", body), 409)["code"] == code


def test_a_promotion_without_evidence_is_refused_and_says_what_is_missing(setting: Setting) -> None:
    created(setting, ("start", {}))
    error = error_of(post(setting, "/exp-1/promote", {"variant": "b"}), 409)
    assert error["code"] == "no_evidence"
    assert "nobody has won" in error["message"]


WEIGHTS = {"quality": 1.0, "latency_per_s": 0.0, "cost_per_usd": 7.0}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("own", "plan", "words"),
    [
        ([{}, {"weights": WEIGHTS}], {"judged_by": WEIGHTS}, "weights.auto"),
        ([{"pool": ["small"]}, {"pool": ["large"]}], {"kind": "pools"}, "the catalogue's tiers"),
    ],
)
def test_a_variant_that_the_live_policy_cannot_be_is_not_promoted(
    setting: Setting, own: list[dict[str, Any]], plan: dict[str, Any], words: str, force: bool
) -> None:
    """Live would be its policy with other weights, or on other tiers, which is not what was measured."""
    variants = [{"name": name, "policy": "uniform", **one} for name, one in zip("ab", own, strict=True)]
    assert post(setting, "", {**PLAN, **plan, "variants": variants}).status_code == 201
    post(setting, "/exp-1/start")
    error = error_of(post(setting, "/exp-1/promote", {"variant": "b", "force": force}), 409)
    assert error["code"] == "experiment_refused"
    assert words in error["message"]
    assert get(setting).json()["live_policy"]["promoted_by"] is None
    if "judged_by" in plan:
        assert post(setting, "/exp-1/promote", {"variant": "a", "force": True}).status_code == 200


def test_an_apprentice_that_could_never_take_over_is_refused(refusing: Setting) -> None:
    variants = [{"name": "a", "policy": "uniform"}, {"name": "b", "policy": "uniform", "weights": WEIGHTS}]
    plan = {**PLAN, "kind": "apprentice", "takeover": 0.9, "judged_by": WEIGHTS, "variants": variants}
    assert "never take over" in error_of(post(refusing, "", plan), 400)["message"]


@pytest.mark.parametrize(
    ("command", "body"), [("promote", {"variant": "z"}), ("stop", {"variant": "z", "reason": "a typo"})]
)
def test_an_unknown_variant_is_not_found(setting: Setting, command: str, body: dict[str, Any]) -> None:
    created(setting, ("start", {}))
    error = error_of(post(setting, f"/exp-1/{command}", body), 404)
    assert (error["code"], error["param"]) == ("variant_not_found", "variant")
    assert "it has: a, b" in error["message"]


@pytest.mark.parametrize("body", [{}, {"traffic": None, "weights": None}])
def test_a_ramp_without_anything_to_ramp_says_so(setting: Setting, body: dict[str, Any]) -> None:
    created(setting, ("start", {}))
    assert "nothing to ramp" in error_of(post(setting, "/exp-1/ramp", body), 400)["message"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"reason": "x", "variant": "a", "variant": "b"}',
        b'{"reason": "x", "reason": "x"}',
        b'{"reason": "x", "\\u0072eason": "y"}',
    ],
)
def test_a_key_given_twice_is_refused_and_named(setting: Setting, content: bytes) -> None:
    created(setting, ("start", {}))
    headers = {"content-type": "application/json"}
    error = error_of(setting.request("POST", "/v1/experiments/exp-1/stop", content=content, headers=headers), 400)
    assert error["code"] == "invalid_json"
    assert ("variant" if b"variant" in content else "reason") in error["message"]
    assert "twice" in error["message"]
    assert setting.ledger.experiment("exp-1").status == "running"


def test_a_key_given_twice_inside_of_a_plan_is_refused(refusing: Setting) -> None:
    content = json.dumps(PLAN).replace('"policy": "uniform"', '"policy": "uniform", "policy": "fixed"')
    headers = {"content-type": "application/json"}
    response = refusing.request("POST", "/v1/experiments", content=content, headers=headers)
    assert "policy" in error_of(response, 400)["message"]


@pytest.mark.parametrize(
    ("path", "words", "others"),
    [("/v1/images/generations", "A prompt has", ""), ("/v1/experiments", "larger than", "prompt")],
)
def test_a_body_that_is_too_large_is_refused_in_its_own_words(
    refusing: Setting, path: str, words: str, others: str
) -> None:
    response = refusing.request("POST", path, json={"hypothesis": "x" * 200_000})
    message = error_of(response, 413)["message"]
    assert words in message
    assert not others or others not in message


def test_promote_and_rollback_tell_what_is_live_now(setting: Setting) -> None:
    created(setting, ("start", {}))
    told = post(setting, "/exp-1/promote", {"variant": "b", "force": True}).json()
    assert told["live_policy"] == {"name": "fixed", "options": {"arm": "large@full"}, "promoted_by": "exp-1"}
    assert told["live_policy_changed"] is True
    second = {**PLAN, "experiment_id": "exp-2"}
    assert post(setting, "", second).status_code == 201
    post(setting, "/exp-2/start")
    post(setting, "/exp-2/promote", {"variant": "a", "force": True})
    told = post(setting, "/exp-1/rollback", {"reason": "too dear"}).json()
    assert (told["live_policy"]["promoted_by"], told["live_policy_changed"]) == ("exp-2", False)
    told = post(setting, "/exp-2/rollback", {"reason": "too dear"}).json()
    assert (told["live_policy"]["promoted_by"], told["live_policy_changed"]) == (None, True)


def test_two_experiments_cannot_claim_the_same_units(setting: Setting) -> None:
    created(setting, ("start", {}))
    post(setting, "", {**PLAN, "experiment_id": "exp-2", "traffic": 0.1})
    error = error_of(post(setting, "/exp-2/start"), 409)
    assert "free" in error["message"]


@pytest.mark.parametrize(
    ("command", "body", "param"),
    [
        ("ramp", {"traffic": "half"}, "traffic"),
        ("ramp", {"traffic": 0}, "traffic"),
        ("ramp", {"weights": {"a": 0.5, "b": 0.6}}, "variants"),
        ("ramp", {"weights": {"a": 1.0}}, "variants"),
        ("ramp", {"weights": [0.5, 0.5]}, "weights"),
        ("ramp", {"pace": 1}, "pace"),
        ("start", {"now": True}, "now"),
        ("stop", {}, "reason"),
        ("stop", {"reason": ""}, "reason"),
        ("stop", {"reason": "a\0b"}, "reason"),
        ("stop", {"reason": "a\ud800b"}, "reason"),
        ("stop", {"reason": "x" * 2001}, "reason"),
        ("promote", {}, "variant"),
        ("promote", {"variant": "b", "force": "yes"}, "force"),
        ("rollback", {}, "reason"),
    ],
)
def test_commands_refuse_bad_bodies_and_name_the_field(
    setting: Setting, command: str, body: dict[str, Any], param: str
) -> None:
    created(setting, *([] if command == "start" else [("start", {})]))
    content, headers = json.dumps(body), {"content-type": "application/json"}
    response = setting.request("POST", f"/v1/experiments/exp-1/{command}", content=content, headers=headers)
    assert error_of(response, 400)["param"] == param


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),  # what a web page from elsewhere may send without asking
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{" * 100, "application/json", 400),
        (b'{"traffic": NaN}', "application/json", 400),
        (b'{"hypothesis": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ],
)
@pytest.mark.parametrize("path", ["", "/exp-1/start"])
def test_bodies_that_are_no_objects_are_refused(
    refusing: Setting, path: str, content: bytes, content_type: str, status: int
) -> None:
    headers = {"content-type": content_type}
    error_of(refusing.request("POST", f"/v1/experiments{path}", content=content, headers=headers), status)


def test_a_journal_that_is_away_is_503(setting: Setting) -> None:
    created(setting)
    with sqlite3.connect(setting.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert error_of(post(setting, "/exp-1/start"), 503)["code"] == "journal_unavailable"
        other.execute("ROLLBACK")
    assert post(setting, "/exp-1/start").json()["status"] == "running"


ROUTES = [
    ("POST", ""), ("GET", ""), ("GET", "/exp-1"), ("GET", "/exp-1/report"), ("POST", "/exp-1/start"),
    ("POST", "/exp-1/ramp"), ("POST", "/exp-1/stop"), ("POST", "/exp-1/promote"), ("POST", "/exp-1/rollback"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("admin", "status"), [(admin_of("k" * 32, open_on_loopback=True), 401), (Admin(open_on_loopback=False), 403)]
)
def test_every_route_is_an_operators(refusing: Setting, method: str, path: str, admin: Admin, status: int) -> None:
    before, refusing.app = refusing.app, refusing.app_for(admin)
    try:
        error = error_of(refusing.request(method, f"/v1/experiments{path}", json={}), status)
    finally:
        refusing.app = before
    assert error["type"] == {401: "authentication_error", 403: "permission_error"}[status]
    assert refusing.ledger.state().experiments == {}


def test_the_key_opens_every_route_and_images_need_none(setting: Setting) -> None:
    setting.app = setting.app_for(admin_of("k" * 32, open_on_loopback=False))
    headers = {"authorization": f"Bearer {'k' * 32}"}
    assert setting.request("POST", "/v1/experiments", json=PLAN, headers=headers).status_code == 201
    assert setting.request("GET", "/v1/experiments", headers=headers).status_code == 200
    assert setting.generate().status_code == 200


def test_the_routes_are_described(refusing: Setting) -> None:
    told = refusing.request("GET", "/openapi.json").json()
    plan = told["paths"]["/v1/experiments"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"experiment_id", "hypothesis", "variants", "control", "guardrails"} <= set(plan["properties"])
    assert "/v1/experiments/{experiment_id}/rollback" in told["paths"]
    for path, routes in told["paths"].items():
        for route in routes.values():
            assert route.get("security", []) == ([{"admin_key": []}] if "/v1/experiments" in path else [])
    assert told["components"]["securitySchemes"]["admin_key"]["scheme"] == "bearer"
    image = told["paths"]["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"max_cost_usd", "max_latency_s"} <= set(image["properties"])
