"""A gateway with a real journal and fake tiers, all in this process: what the tests of the HTTP API share."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from ray.exceptions import RayActorError

from bandit.experiments.design import plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.policies import build
from bandit.snapshots import Snapshots
from replicas.fake import FakeScorer, FakeTier
from replicas.tier import GenerationRequest
from serve.admin import Admin
from serve.catalogue import Catalogue, parse_catalogue
from serve.deciding import Decider, build_policy, catalogue_policy
from serve.experiments_api import ExperimentsApi
from serve.experiments_deciding import Deciders
from serve.experiments_shadows import ShadowLog
from serve.experiments_watch import ExperimentsLook
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
        self.notice: str | None = None

    async def __call__(self, work: Work) -> Drawn:
        self.works.append(work)
        if self.fault is not None:
            await self.fault()
        pixels = self.tier.generate([GenerationRequest(work.prompt, work.seed, work.preset)])[0]
        file = encode_base64(pixels, work.size_px or (64, 64), work.file_format, work.compression)
        return Drawn(file, pixels, (64, 64), 0.01, "replica-1", self.notice)


class Setting:
    """One gateway with its parts."""

    def __init__(self, directory: Path, text: str = CATALOGUE) -> None:
        self.loop = asyncio.new_event_loop()
        self.path = directory / "journal.db"
        self.journal = Journal.open(f"sqlite:///{self.path}", busy_timeout_s=1.0)
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
        self.ledger = Ledger(self.journal)
        self.shadow_log = ShadowLog(self.journal)
        live = catalogue_policy(self.catalogue.policy)
        self.live = live
        fallback = self.catalogue.policy.fallback
        decider = Decider(build_policy(self.catalogue.policy), build(fallback), Random(5))
        self.deciders = Deciders(decider, self.shadow_log.add, Random(6))
        self.look = ExperimentsLook(
            self.ledger, Snapshots(self.journal), live, fallback, self.deciders, actor="gateway test"
        )
        self.recorder = Recorder(self.writer, b"salt", wait_s=10.0)
        self.gateway = Gateway(
            self.catalogue, self.journal, self.recorder, self.deciders, self.board, self.tiers, self._score
        )
        self.experiments = ExperimentsApi(
            self.journal,
            self.ledger,
            live,
            self.catalogue.arms(),
            self.look,
            encodes=self.catalogue.encoder is not None,
        )
        self.app = self.app_for(Admin(open_on_loopback=True))

    def app_for(self, admin: Admin) -> FastAPI:
        return http_app(lambda: self.gateway, lambda: self.experiments, admin, 100_000)

    async def _score(self, images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return [float(score) for score in self.scorer.score(np.stack(images), [prompt] * len(images))]

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.loop.run_until_complete(self.arequest(method, path, **options))

    async def arequest(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    def generate(self, **body: Any) -> httpx.Response:
        return self.request("POST", "/v1/images/generations", json={"prompt": "two cats", **body})

    def run_experiment(self, **plan: Any) -> None:
        """Create it, start it, and let this gateway see it."""
        now_s = time.time()
        started = self.ledger.create(plan_from_json({"hypothesis": "because", "control": "a", **plan}), "test", now_s)
        self.ledger.start(started.experiment_id, "test", now_s, catalogue=self.live)
        self.look()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.path) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        self.loop.run_until_complete(self.gateway.scoring.drain())
        self.writer.close()
        self.journal.close()
        self.loop.close()


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
