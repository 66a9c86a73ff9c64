"""What the HTTP API does when replicas, tiers, clients or the journal fail."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import httpx
import pytest
from ray.exceptions import RayActorError

from tests.serve.in_process_gateway import CATALOGUE, Setting, died, error_of, slow


@pytest.mark.parametrize(("model", "arms"), [("large", {"large@draft", "large@full"}), ("large@full", {"large@full"})])
def test_images_of_a_named_tier_or_arm_come_from_there(setting: Setting, model: str, arms: set[str]) -> None:
    assert {setting.generate(model=model).json()["switchboard"]["arm"] for _ in range(12)} == arms


def test_what_nobody_expected_is_a_500_that_says_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(setting.gateway, "_decide", explode)
    response = setting.generate()
    assert error_of(response, 500)["code"] == "internal_error"
    assert "secret" not in response.text


def test_a_dead_replica_is_replaced_by_another_tier_and_the_journal_says_so(setting: Setting) -> None:
    setting.tiers["small"].fault = died()
    setting.tiers["large"].fault = None
    why = [setting.generate().json()["switchboard"] for _ in range(24)]
    assert {answer["tier"] for answer in why} == {"large"}
    moved = [answer for answer in why if len(answer["attempts"]) == 2]
    assert moved
    assert [attempt["error"] for attempt in moved[0]["attempts"]] == ["died", None]
    decision_id = moved[0]["decision_id"]
    ((arm, served),) = setting.rows(
        f"SELECT arm, served_arm FROM decisions JOIN outcomes USING (decision_id) WHERE decision_id = '{decision_id}'"
    )
    assert (arm, served) == ("small@fast", moved[0]["arm"])
    # Two failures in a row opened the circuit: the rest never tried the dead tier.
    assert len(setting.tiers["small"].works) == 2


def test_a_named_tier_is_never_replaced(setting: Setting) -> None:
    setting.tiers["small"].fault = died()
    error = error_of(setting.generate(model="small"), 503)
    assert error["code"] == "tier_lost"
    assert not setting.tiers["large"].works
    ((status, served),) = setting.rows("SELECT status, served_arm FROM outcomes")
    assert (status, served) == ("failed", None)


def test_images_of_one_request_come_from_one_arm_also_after_a_failure(setting: Setting) -> None:
    calls = 0

    async def every_third() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RayActorError

    setting.tiers["small"].fault = every_third
    while True:
        body = setting.generate(n=4, seed=1).json()
        if body["switchboard"]["attempts"][0]["arm"] == "small@fast":
            break
    assert body["switchboard"]["tier"] == "large"
    assert len({item["b64_json"] for item in body["data"]}) == 4
    assert [work.seed for work in setting.tiers["large"].works[-4:]] == [1, 2, 3, 4]


def test_a_late_tier_ends_at_the_clients_deadline(setting: Setting) -> None:
    for tier in setting.tiers.values():
        tier.fault = slow(30)
    began_s = time.monotonic()
    headers = {"x-request-timeout-seconds": "0.5"}
    response = setting.request("POST", "/v1/images/generations", json={"prompt": "x"}, headers=headers)
    assert error_of(response, 504)["code"] == "deadline_exceeded"
    assert time.monotonic() - began_s < 5
    ((attempts,),) = setting.rows("SELECT attempts FROM outcomes")
    assert [attempt["error"] for attempt in json.loads(attempts)] == ["late", "late"]


def test_more_requests_than_allowed_are_refused_with_retry_after(setting: Setting) -> None:
    for tier in setting.tiers.values():
        tier.fault = slow(0.3)

    async def burst() -> list[httpx.Response]:
        asked = (setting.arequest("POST", "/v1/images/generations", json={"prompt": "x"}) for _ in range(7))
        return await asyncio.gather(*asked)

    responses = setting.loop.run_until_complete(burst())
    assert sorted(response.status_code for response in responses) == [200] * 4 + [429] * 3
    refused = next(response for response in responses if response.status_code == 429)
    assert error_of(refused, 429)["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert "x-should-retry" not in refused.headers


def test_a_client_that_leaves_cancels_the_work_and_is_recorded(setting: Setting) -> None:
    for tier in setting.tiers.values():
        tier.fault = slow(30)

    async def leave() -> None:
        task = asyncio.create_task(setting.gateway.images({"prompt": "x"}))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    setting.loop.run_until_complete(leave())
    setting.writer.close()
    ((status, attempts),) = setting.rows("SELECT status, attempts FROM outcomes")
    assert status == "cancelled"
    assert [attempt["error"] for attempt in json.loads(attempts)] == ["cancelled"]
    assert all(load.in_flight == 0 for load in setting.board.tiers().values())


def test_all_tiers_down_is_a_503_with_retry_after(setting: Setting) -> None:
    for tier in ("small", "large"):
        setting.board.failed(tier)
        setting.board.failed(tier)
    response = setting.generate()
    assert error_of(response, 503)["code"] == "no_tier_available"
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert setting.request("GET", "/healthz").status_code == 503


def test_without_a_journal_requests_are_refused_and_served_again_afterwards(setting: Setting) -> None:
    blocker = sqlite3.connect(setting.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    response = setting.generate()
    assert error_of(response, 503)["code"] == "journal_unavailable"
    assert int(response.headers["retry-after"]) >= 1
    drawn = sum(len(tier.works) for tier in setting.tiers.values())
    assert error_of(setting.generate(), 503)["code"] == "journal_unavailable"
    assert sum(len(tier.works) for tier in setting.tiers.values()) == drawn, "refused before any work"
    blocker.execute("ROLLBACK")
    blocker.close()
    deadline_s = time.monotonic() + 10
    while setting.generate().status_code != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_a_hurried_caller_closes_no_tier_to_others(tmp_path: Path) -> None:
    text = CATALOGUE.replace("service_s: 0.01", "service_s: 1.0").replace("deadline_s: 5", "deadline_s: 0.6")
    setting = Setting(tmp_path, text)
    setting.tiers["small"].fault = slow(30)
    body = {"model": "small", "prompt": "x"}
    for _ in range(setting.catalogue.gateway.circuit_failures + 1):
        headers = {"x-request-timeout-seconds": "0.3"}
        error_of(setting.request("POST", "/v1/images/generations", json=body, headers=headers), 504)
    assert setting.board.tiers()["small"].circuit == "closed"
    for _ in range(setting.catalogue.gateway.circuit_failures):
        error_of(setting.request("POST", "/v1/images/generations", json=body), 504)
    assert setting.board.tiers()["small"].circuit == "open", "the whole deadline ran out"
    setting.close()


def test_a_hurried_caller_who_gave_time_enough_counts(setting: Setting) -> None:
    setting.tiers["small"].fault = slow(30)
    for _ in range(setting.catalogue.gateway.circuit_failures):
        headers = {"x-request-timeout-seconds": "0.5"}
        body = {"model": "small", "prompt": "x"}
        error_of(setting.request("POST", "/v1/images/generations", json=body, headers=headers), 504)
    assert setting.board.tiers()["small"].circuit == "open"


def test_an_answer_after_a_failure_names_the_arm_that_its_propensity_belongs_to(setting: Setting) -> None:
    setting.tiers["small"].fault = died()
    while True:
        why = setting.generate().json()["switchboard"]
        if len(why["attempts"]) == 2:
            break
    assert (why["decided_arm"], why["tier"]) == ("small@fast", "large")
    assert why["arm"].startswith("large@")
    told = setting.request("GET", f"/v1/decisions/{why['decision_id']}").json()
    assert (told["arm"], told["propensity"]) == (why["decided_arm"], why["propensity"])
