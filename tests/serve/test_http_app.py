"""The whole HTTP API on a real journal, with fake tiers called in this process instead of through Ray."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from ray.exceptions import RayActorError

from bandit.joins import close_due
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.policies import build
from bandit.verify import verify
from replicas.fake import FakeScorer, FakeTier
from replicas.tier import GenerationRequest
from serve.catalogue import Catalogue, parse_catalogue
from serve.deciding import Decider, build_policy
from serve.gateway import Gateway
from serve.http_app import http_app
from serve.load import LoadBoard
from serve.pictures import encode_base64
from serve.recording import Recorder
from serve.tier_app import Drawn, Work

CATALOGUE = """
version: 1
gateway: {deadline_s: 5, circuit_failures: 2, circuit_cooldown_s: 30, max_ongoing_requests: 2, max_queued_requests: 2}
policy: {name: uniform}
weights:
  auto: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 100.0}
  low: {quality: 1.0, latency_per_s: 0.5, cost_per_usd: 900.0}
  medium: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 100.0}
  high: {quality: 1.0, latency_per_s: 0.0, cost_per_usd: 0.0}
scorer: {class: "replicas.fake:FakeScorer", threads: null}
tiers:
  - name: small
    class: replicas.fake:FakeTier
    family: fake
    presets: {fast: {price_usd: 0.001, service_s: 0.01}}
    sizes: [64x64, 128x32]
  - name: large
    class: replicas.fake:FakeTier
    family: fake
    presets: {draft: {price_usd: 0.01, service_s: 0.02}, full: {price_usd: 0.02, service_s: 0.04}}
    sizes: [64x64, 256x256]
"""


class InProcessTier:
    """A FakeTier as the dispatcher calls it; `fault` may raise or wait before an image is drawn."""

    def __init__(self, presets: Sequence[str]) -> None:
        self.tier = FakeTier(presets={preset: {} for preset in presets}, native_size_px=(64, 64))
        self.tier.load("cpu")
        self.fault: Callable[[], Awaitable[None]] | None = None
        self.works: list[Work] = []

    async def __call__(self, work: Work) -> Drawn:
        self.works.append(work)
        if self.fault is not None:
            await self.fault()
        pixels = self.tier.generate([GenerationRequest(work.prompt, work.seed, work.preset)])[0]
        file = encode_base64(pixels, work.size_px or (64, 64), work.file_format, work.compression)
        return Drawn(file, pixels, (64, 64), 0.01, "replica-1")


class Setting:
    """One gateway with its parts."""

    def __init__(self, directory: Path, text: str = CATALOGUE) -> None:
        self.loop = asyncio.new_event_loop()
        self.path = directory / "journal.db"
        self.journal = Journal.open(f"sqlite:///{self.path}", busy_timeout_s=0.1)
        self.writer = JournalWriter(self.journal, patience_s=0.3)
        self.catalogue: Catalogue = parse_catalogue(text, "test.yaml")
        self.board = LoadBoard(
            self.catalogue.arms(),
            failures=self.catalogue.gateway.circuit_failures,
            cooldown_s=self.catalogue.gateway.circuit_cooldown_s,
            clock=time.monotonic,
        )
        self.tiers = {tier.name: InProcessTier(list(tier.presets)) for tier in self.catalogue.tiers}
        self.scorer = FakeScorer()
        self.scorer.load("cpu")
        decider = Decider(build_policy(self.catalogue.policy), build("uniform"), Random(5))
        self.recorder = Recorder(self.writer, b"salt", wait_s=10.0)
        self.gateway = Gateway(
            self.catalogue, self.journal, self.recorder, decider, self.board, self.tiers, self._score
        )
        self.app = http_app(lambda: self.gateway, 100_000)

    async def _score(self, images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return [float(score) for score in self.scorer.score(np.stack(images), [prompt] * len(images))]

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.loop.run_until_complete(self.arequest(method, path, **options))

    async def arequest(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, **options)

    def generate(self, **body: Any) -> httpx.Response:
        return self.request("POST", "/v1/images/generations", json={"prompt": "two cats", **body})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.path) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        self.loop.run_until_complete(self.gateway.scoring.drain())
        self.writer.close()
        self.journal.close()
        self.loop.close()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """One gateway for all requests that must leave no trace."""
    made = Setting(tmp_path_factory.mktemp("refusing"))
    yield made
    assert made.rows("SELECT count(*) FROM decisions") == [(0,)]
    assert not any(tier.works for tier in made.tiers.values())
    made.close()


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a refusal, which must have OpenAI's shape."""
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return body["error"]


def died() -> Callable[[], Awaitable[None]]:
    async def fault() -> None:
        raise RayActorError

    return fault


def slow(seconds: float) -> Callable[[], Awaitable[None]]:
    async def fault() -> None:
        await asyncio.sleep(seconds)

    return fault


def test_images_answer_in_openais_shape_and_are_in_the_journal(setting: Setting) -> None:
    response = setting.generate(n=3, seed=7, size="64x64", user="alice")
    assert response.status_code == 200
    body = response.json()
    assert len(body["data"]) == 3
    pictures = [Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) for item in body["data"]]
    assert {(picture.format, picture.size) for picture in pictures} == {("PNG", (64, 64))}
    why = body["switchboard"]
    price = {"small@fast": 0.001, "large@draft": 0.01, "large@full": 0.02}[why["arm"]]
    assert why["arm"] == f"{why['tier']}@{why['preset']}"
    assert (why["policy"], why["seed"], why["native_size"]) == ("uniform", 7, "64x64")
    assert why["propensity"] == pytest.approx(1 / 3)
    assert why["cost_usd"] == pytest.approx(3 * price)
    assert (body["size"], body["quality"], body["output_format"]) == ("64x64", "auto", "png")
    assert response.headers["x-switchboard-decision-id"] == why["decision_id"]
    assert response.headers["x-switchboard-tier"] == why["tier"]
    assert response.headers["x-switchboard-policy"] == "uniform"
    assert float(response.headers["x-switchboard-cost-usd"]) == pytest.approx(3 * price)
    assert [work.seed for work in setting.tiers[why["tier"]].works] == [7, 8, 9]
    ((arm, images, seed, prompt),) = setting.rows("SELECT arm, images, seed, prompt FROM decisions")
    assert (arm, images, seed, prompt) == (why["arm"], 3, 7, None)
    ((served, status),) = setting.rows("SELECT served_arm, status FROM outcomes")
    assert (served, status) == (why["arm"], "served")


def test_images_keep_prompt_and_caller_out_of_the_journal(setting: Setting) -> None:
    setting.generate(prompt="a zebra named Xylophone", user="alice@example.org")
    setting.writer.close()
    setting.journal.close()
    stored = b"".join(path.read_bytes() for path in setting.path.parent.glob("journal.db*"))
    assert b"alice" not in stored
    assert b"zebra named" not in stored


def test_images_with_a_seed_are_the_same_again_and_without_one_are_not(setting: Setting) -> None:
    def data(**body: Any) -> str:
        return setting.generate(model="small", **body).json()["data"][0]["b64_json"]

    assert data(seed=5) == data(seed=5)
    assert data() != data()
    drawn = setting.generate(model="small").json()
    assert drawn["data"][0]["b64_json"] == data(seed=drawn["switchboard"]["seed"])


def test_images_of_the_largest_seed_wrap_around(setting: Setting) -> None:
    assert setting.generate(model="small", seed=2**63 - 1, n=2).status_code == 200
    assert [work.seed for work in setting.tiers["small"].works] == [2**63 - 1, 0]


@pytest.mark.parametrize(("model", "arms"), [("large", {"large@draft", "large@full"}), ("large@full", {"large@full"})])
def test_images_of_a_named_tier_or_arm_come_from_there(setting: Setting, model: str, arms: set[str]) -> None:
    assert {setting.generate(model=model).json()["switchboard"]["arm"] for _ in range(12)} == arms


def test_images_of_a_size_that_one_tier_lacks_come_from_the_other(setting: Setting) -> None:
    for _ in range(8):
        body = setting.generate(size="128x32").json()
        assert (body["switchboard"]["tier"], body["size"]) == ("small", "128x32")
    picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert picture.size == (128, 32)


@pytest.mark.parametrize("file_format", ["webp", "jpeg"])
def test_images_come_in_the_asked_format(setting: Setting, file_format: str) -> None:
    body = setting.generate(output_format=file_format, output_compression=40).json()
    picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert (body["output_format"], picture.format) == (file_format, file_format.upper())


@pytest.mark.parametrize(("quality", "stored"), [("hd", 0.0), ("standard", 100.0), ("low", 900.0)])
def test_images_are_decided_with_the_weights_of_their_quality(setting: Setting, quality: str, stored: float) -> None:
    setting.generate(quality=quality)
    ((weights,),) = setting.rows("SELECT weights FROM decisions")
    assert json.loads(weights)["cost_per_usd"] == stored


@pytest.mark.parametrize(
    "prompt", ["|A 0:-100:0.01", "0:-100:0.01 |A x", "line\nline\r\n|shared", "\u202eabc", "🐈" * 100]
)
def test_images_of_odd_prompts_are_drawn_and_scored(setting: Setting, prompt: str) -> None:
    assert setting.generate(prompt=prompt).status_code == 200
    setting.loop.run_until_complete(setting.gateway.scoring.drain())
    setting.writer.close()
    assert setting.rows("SELECT kind, source FROM signals") == [("quality", "scorer:FakeScorer")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "a\ud800b"}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "0x0"}, "size"),
        ({"size": "99999x99999"}, "size"),
        ({"model": "dall-e-3"}, "model"),
        ({"response_format": "url"}, "response_format"),
        ({"rewrite": True}, "rewrite"),
    ],
)
def test_images_refuse_bad_input_and_record_nothing(refusing: Setting, body: dict[str, Any], param: str) -> None:
    content = json.dumps({"prompt": "x", **body})
    headers = {"content-type": "application/json"}
    response = refusing.request("POST", "/v1/images/generations", content=content, headers=headers)
    assert error_of(response, 400)["param"] == param
    assert response.headers["x-should-retry"] == "false"
    assert refusing.rows("SELECT count(*) FROM decisions") == [(0,)]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"prompt=x", "application/x-www-form-urlencoded", 415),
        (b'{"prompt": "x"}', "text/plain", 415),
        (b'{"prompt": "x"}', None, 415),
        (b"", "application/json", 400),
        (b'{"prompt": "\xff"}', "application/json", 400),
        (b'{"prompt": "x", "n": NaN}', "application/json", 400),
        (b'{"a":' * 19_000, "application/json", 400),
        (b"[" * 90_000, "application/json", 400),
        (b'{"prompt": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ],
)
def test_images_refuse_bodies_that_are_no_request(
    refusing: Setting, content: bytes, content_type: str | None, status: int
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    error_of(refusing.request("POST", "/v1/images/generations", content=content, headers=headers), status)


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


def test_feedback_is_kept_once_and_contradictions_are_refused(setting: Setting) -> None:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]

    def rate(rating: object, **more: Any) -> httpx.Response:
        return setting.request("POST", "/v1/feedback", json={"decision_id": decision_id, "rating": rating, **more})

    first = rate(0.75)
    assert (first.status_code, first.json()["status"], first.json()["learned"]) == (200, "accepted", True)
    assert rate(0.75).json()["status"] == "duplicate"
    contradiction = rate(0.25)
    assert error_of(contradiction, 409)["code"] == "rated_before"
    assert contradiction.headers["x-should-retry"] == "false"
    assert rate(0.25, user="bob").status_code == 200
    assert setting.request("GET", f"/v1/decisions/{decision_id}").json()["measured"]["rating"] == 0.5


def scored_and_closed(setting: Setting) -> str:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]
    setting.loop.run_until_complete(setting.gateway.scoring.drain())
    deadline_s = time.monotonic() + 10
    while close_due_joins(setting) == 0:
        assert time.monotonic() < deadline_s, "its quality is written by a thread"
        time.sleep(0.01)
    return decision_id


def close_due_joins(setting: Setting) -> int:
    vote_window_s = setting.catalogue.learning.vote_window_s
    with setting.journal.write() as connection:
        return close_due(
            connection,
            now_s=time.time(),
            window_s=60,
            vote_window_s=vote_window_s,
            default_quality=0.5,
            limit=9,
        )


def test_feedback_after_the_join_closed_is_learned_and_shown(setting: Setting) -> None:
    decision_id = scored_and_closed(setting)
    body = {"decision_id": decision_id, "rating": 1}
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("accepted", True)
    (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
    assert (vote["rating"], vote["state"], vote["reason"]) == (1, "waiting", None)
    assert close_due_joins(setting) == 1
    (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
    assert (vote["rating"], vote["state"], vote["reason"]) == (1, "folded", "vote")
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("duplicate", True)
    assert not verify(setting.journal).findings


def test_feedback_after_the_vote_window_says_that_it_is_not_learned(tmp_path: Path) -> None:
    setting = Setting(tmp_path, CATALOGUE + "learning: {vote_window_s: 0.000001}\n")
    decision_id = scored_and_closed(setting)
    body = {"decision_id": decision_id, "rating": 1}
    for status, state, reason in (("late", "waiting", None), ("duplicate", "not_learned", "late")):
        told = setting.request("POST", "/v1/feedback", json=body).json()
        assert (told["status"], told["learned"]) == (status, False)
        (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
        assert (vote["state"], vote["reason"]) == (state, reason)
        assert close_due_joins(setting) == (1 if status == "late" else 0)
    setting.close()


def test_feedback_on_what_was_not_served_says_that_it_is_not_learned(setting: Setting) -> None:
    for tier in setting.tiers.values():
        tier.fault = died()
    response = setting.generate()
    assert response.status_code == 503
    body = {"decision_id": response.headers["x-switchboard-decision-id"], "rating": 0}
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("late", False)
    (vote,) = setting.request("GET", f"/v1/decisions/{body['decision_id']}").json()["votes"]
    assert vote["state"] == "not_learned"


@pytest.mark.parametrize(
    "rating", ["NaN", "Infinity", "-Infinity", "1e308", "1e999", "null", "true", '"0.5"', "2", "-1"]
)
def test_feedback_refuses_what_is_no_rating_and_stores_nothing(setting: Setting, rating: str) -> None:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]
    content = f'{{"decision_id": "{decision_id}", "rating": {rating}}}'
    headers = {"content-type": "application/json"}
    error_of(setting.request("POST", "/v1/feedback", content=content, headers=headers), 400)
    assert setting.rows("SELECT count(*) FROM signals WHERE kind = 'rating'") == [(0,)]


@pytest.mark.parametrize(
    "decision_id", ["dec_unknown", "x" * 128, "a b", "../etc", "Ünïcode", "a'; DROP TABLE signals"]
)
def test_feedback_and_decision_of_an_unknown_id_are_404(setting: Setting, decision_id: str) -> None:
    body = {"decision_id": decision_id, "rating": 1}
    assert error_of(setting.request("POST", "/v1/feedback", json=body), 404)["code"] == "decision_not_found"
    if "/" not in decision_id:
        error_of(setting.request("GET", f"/v1/decisions/{decision_id}"), 404)


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
