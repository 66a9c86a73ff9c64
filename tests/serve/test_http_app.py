"""Routes, bodies and health of the HTTP API, on a real journal with fake tiers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from bandit.verify import verify
from tests.serve.in_process_gateway import CATALOGUE, Setting, error_of


def test_a_streamed_body_is_refused_at_the_first_byte_too_many(refusing: Setting) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 20_000_000:
            taken += 10_000
            yield b"x" * 10_000

    headers = {"content-type": "application/json"}
    error_of(refusing.request("POST", "/v1/images/generations", content=endless(), headers=headers), 413)
    assert taken <= 120_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/nothing", 404), ("GET", "/v1/images/generations", 405), ("PUT", "/healthz", 405)],
)
def test_unknown_routes_and_methods_are_refused_in_openais_shape(
    refusing: Setting, method: str, path: str, status: int
) -> None:
    error_of(refusing.request(method, path), status)


def test_decision_tells_why_and_what_came_of_it(setting: Setting) -> None:
    decision_id = setting.generate(prompt="two cats").json()["switchboard"]["decision_id"]
    setting.loop.run_until_complete(setting.gateway.scoring.drain())
    setting.writer.close()
    body = setting.request("GET", f"/v1/decisions/{decision_id}").json()
    assert [arm["arm"] for arm in body["arms"]] == ["small@fast", "large@draft", "large@full"]
    assert sum(arm["probability"] for arm in body["arms"]) == pytest.approx(1)
    assert body["outcome"]["status"] == "served"
    assert 0 <= body["measured"]["quality"] < 1
    assert (body["prompt"], body["join"]["state"]) == (None, "open")


def test_models_lists_auto_tiers_and_arms(refusing: Setting) -> None:
    body = refusing.request("GET", "/v1/models").json()
    names = [model["id"] for model in body["data"]]
    assert names == ["auto", "small", "large", "small@fast", "large@draft", "large@full"]
    assert refusing.request("GET", "/v1/models/large@full").json()["object"] == "model"
    error_of(refusing.request("GET", "/v1/models/gpt"), 404)


def test_health_tells_tiers_journal_and_snapshot(setting: Setting) -> None:
    response = setting.request("GET", "/healthz")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "ok")
    assert set(body["tiers"]) == {"small", "large"}
    assert (body["journal"]["reachable"], body["policy"]["snapshot_version"]) == (True, None)
    setting.board.set_replicas({"small": 0, "large": 1})
    assert setting.request("GET", "/healthz").json()["status"] == "degraded"


def test_openapi_describes_the_bodies(refusing: Setting) -> None:
    described = refusing.request("GET", "/openapi.json").json()
    schema = described["paths"]["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert schema["additionalProperties"] is False
    assert "prompt" in schema["required"]


def test_every_answered_decision_is_in_the_journal_once_and_whole(setting: Setting) -> None:
    async def traffic() -> list[httpx.Response]:
        responses = []
        for _ in range(10):
            asked = (setting.arequest("POST", "/v1/images/generations", json={"prompt": "x"}) for _ in range(4))
            responses += await asyncio.gather(*asked)
        return responses

    answered = [
        response.json()["switchboard"]["decision_id"] for response in setting.loop.run_until_complete(traffic())
    ]
    stored = [row[0] for row in setting.rows("SELECT decision_id FROM decisions JOIN outcomes USING (decision_id)")]
    assert len(answered) == 40
    assert sorted(stored) == sorted(answered)
    assert verify(setting.journal).findings in ([], ())


def test_health_is_degraded_while_nothing_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.health._BEHIND_LEAST_S", 0.0)
    setting = Setting(tmp_path, CATALOGUE + "learning: {snapshot_after_s: 0.001, join_window_s: 0.001}\n")
    assert setting.request("GET", "/healthz").json()["status"] == "ok"
    setting.generate()
    time.sleep(0.05)
    body = setting.request("GET", "/healthz").json()
    assert (body["status"], body["learning"]["behind"]) == ("degraded", True)
    assert body["learning"]["waited_s"] > 0
    setting.close()


def test_health_is_degraded_while_images_are_not_scored(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(setting.scorer, "score", away)
    for _ in range(3):
        setting.generate()
        setting.loop.run_until_complete(setting.gateway.scoring.drain())
    response = setting.request("GET", "/healthz")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "degraded")
    assert (body["scoring"]["failing"], body["scoring"]["failed"]) == (True, 3)
    assert (body["journal"]["waiting_rows"], body["journal"]["lost_rows"]) == (0, 0)
