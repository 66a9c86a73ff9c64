"""Rows of a made-up demo run, a gateway without tiers, and one with fake tiers, that several tests share."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from bandit.context import Weights
from bandit.utility import utility
from replicas.scenes.prompts import KINDS
from serve.demo_rows import AUTO, Row
from tests.serve.in_process_gateway import Setting

ARMS = ("gan@fast", "diffusion@draft", "diffusion@standard", "flow@standard")
_QUALITY = {
    "gan@fast": (0.75, 0.7, 0.2, 0.1, 0.1),
    "diffusion@draft": (0.7, 0.65, 0.35, 0.25, 0.2),
    "diffusion@standard": (0.75, 0.72, 0.5, 0.4, 0.3),
    "flow@standard": (0.8, 0.78, 0.6, 0.6, 0.6),
}
_SERVICE_S = {"gan@fast": 0.03, "diffusion@draft": 0.2, "diffusion@standard": 0.42, "flow@standard": 0.36}
_PRICE_USD = {"gan@fast": 2e-7, "diffusion@draft": 2.6e-6, "diffusion@standard": 5.6e-6, "flow@standard": 4.9e-6}

DemoRows = Callable[[int, int], list[Row]]


@pytest.fixture
def demo_arms() -> tuple[str, ...]:
    return ARMS


@pytest.fixture
def demo_rows() -> DemoRows:
    """(prompts, references) -> rows of a router that begins evenly and ends mostly with each kind's best arm."""

    def make(count: int, references: int) -> list[Row]:
        rng = Random(7)
        weights = Weights(1.0, 0.1, 20_000.0)
        rows = []
        for number in range(count):
            index = number % len(KINDS)
            seconds = {arm: _SERVICE_S[arm] * rng.uniform(0.8, 1.4) for arm in ARMS}
            quality = {arm: min(1.0, max(0.0, rng.gauss(_QUALITY[arm][index], 0.2))) for arm in ARMS}
            worth = {arm: utility(weights, quality[arm], seconds[arm], _PRICE_USD[arm]) for arm in ARMS}
            best = max(ARMS, key=lambda arm: _QUALITY[arm][index] - 0.1 * _SERVICE_S[arm] - 2e4 * _PRICE_USD[arm])
            chosen = best if rng.random() < number / count else rng.choice(ARMS)
            asked = [(AUTO, chosen)] + [(arm, arm) for arm in ARMS if number >= count - references]
            for model, arm in asked:
                rows.append(
                    Row(
                        number=number, kind=KINDS[index], caption=f"prompt {number}", seed=number, model=model, arm=arm,
                        decision_id=f"dec_{number}_{model}", policy="factored", snapshot_version=None, propensity=0.4,
                        probabilities=dict.fromkeys(ARMS, 0.25), latency_s=seconds[arm], cost_usd=_PRICE_USD[arm],
                        elapsed_s=seconds[arm], quality=quality[arm], utility=worth[arm],
                        right=rng.random() < quality[arm],
                    )
                )  # fmt: skip
        return rows

    return make


class FakeGateway:
    """Speaks the HTTP API on a real port; the quality of an arm is fixed, and arrives when a decision is read again."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []  # bodies of image requests
        self.refusals: list[tuple[int, dict[str, str]]] = []  # status and headers of the next answers
        self.stop_after: int | None = None  # image requests, then connections are dropped
        self.quality: dict[str, float | None] = {"one@fast": 0.5, "two@fine": 0.75}
        self.reads: Counter[str] = Counter()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway.answer(self, None)

            def do_POST(self) -> None:
                gateway.answer(self, json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any] | None) -> None:
        status, headers, told = 200, dict[str, str](), self._told(handler.path, body)
        if body is not None and self.refusals:
            status, headers = self.refusals.pop(0)
            told = {"error": {"message": "no", "type": "server_error", "param": None, "code": "made_up"}}
        if told is None:
            handler.close_connection = True
            return
        raw = json.dumps(told).encode()
        handler.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(raw))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)

    def _told(self, path: str, body: dict[str, Any] | None) -> dict[str, Any] | None:
        if body is not None:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                return None
            arm = "one@fast" if body["model"] == "auto" else body["model"]
            if not self.refusals:
                self.asked.append({**body, "arm": arm})
            file = io.BytesIO()
            Image.new("RGB", (64, 64), "white").save(file, "PNG")
            return {
                "created": 0,
                "data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}],
                "switchboard": {"decision_id": f"dec_{len(self.asked) - 1}"},
            }
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            return None
        if path == "/healthz":
            return {"status": "ok", "policy": {"name": "factored", "snapshot_version": None}}
        if path == "/v1/models":
            return {"data": [{"id": name} for name in ("auto", "one", "two", *self.quality)]}
        decision_id = path.rpartition("/")[2]
        self.reads[decision_id] += 1
        arm = self.asked[int(decision_id.removeprefix("dec_"))]["arm"]
        return {
            "policy": "factored",
            "snapshot_version": None,
            "propensity": 0.5,
            "weights": {"quality": 1.0, "latency_per_s": 0.1, "cost_per_usd": 100.0},
            "arms": [{"arm": name, "probability": 0.5} for name in self.quality],
            "outcome": {"arm": arm, "latency_s": 0.5, "cost_usd": 0.001},
            "measured": {"quality": self.quality[arm] if self.reads[decision_id] > 1 else None},
            "join": {"state": "open"},
        }


@pytest.fixture
def fake_gateway() -> Iterator[FakeGateway]:
    gateway = FakeGateway()
    yield gateway
    gateway.close()


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
