"""The gateway as a Serve application: HTTP ingress, handles to tiers and scorer, what follows the journal in threads.

Everything of the catalogue that the gateway needs comes by `user_config`, so repricing, new weights or a new tier
restart nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from bandit.errors import JournalAway
from bandit.experiments.ledger import Ledger
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.snapshots import Snapshots

from .admin import Admin
from .catalogue import Catalogue, EncoderEntry
from .deciding import catalogue_policy
from .experiments_api import ExperimentsApi
from .experiments_deciding import Deciders
from .experiments_shadows import EVERY_S as SHADOWS_EVERY_S
from .experiments_shadows import ShadowLog
from .experiments_watch import EVERY_S as EXPERIMENTS_EVERY_S
from .experiments_watch import ExperimentsLook, new_decider
from .gateway import Gateway
from .http_app import http_app
from .journal_file import make_private
from .load import LoadBoard
from .names import SCORER, SCORER_DEPLOYMENT, TIER_DEPLOYMENT, tier_application
from .prompt_vectors import PromptVectors, load_vectors
from .recording import BUSY_TIMEOUT_S, WAIT_S, Recorder
from .tier_app import Drawn, Work
from .watch import REPLICAS_EVERY_S, ReplicasLook, Watch

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """What does not change while a gateway runs."""

    journal_url: str
    salt: bytes
    keep_prompts: bool
    body_limit_bytes: int
    admin: Admin


class GatewayReplica:
    """Deployed through `app.py`, which adds Ray Serve's ingress."""

    def __init__(self, place: GatewayPlace) -> None:
        self._place = place
        make_private(place.journal_url)
        self._journal = Journal.open(place.journal_url, busy_timeout_s=BUSY_TIMEOUT_S)
        self._writer = JournalWriter(self._journal, patience_s=WAIT_S)
        self._recorder = Recorder(self._writer, place.salt, keep_prompts=place.keep_prompts)
        self._ledger = Ledger(self._journal)
        self._shadow_log = ShadowLog(self._journal)
        self._encoder: EncoderEntry | None = None
        self._vectors: PromptVectors | None = None
        self._watches: tuple[Watch, ...] = ()
        self._gateway: Gateway | None = None
        self._experiments: ExperimentsApi | None = None

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take a catalogue. Requests that already run end with the one they began with."""
        catalogue = Catalogue.from_values(user_config["catalogue"])
        live = catalogue_policy(catalogue.policy)
        fallback = catalogue.policy.fallback
        deciders = Deciders(new_decider(live, fallback), self._shadow_log.add, Random())
        experiments = ExperimentsLook(
            self._ledger, Snapshots(self._journal), live, fallback, deciders, actor=f"gateway {socket.gethostname()}"
        )
        board = LoadBoard(
            catalogue.arms(),
            sleepers={tier.name for tier in catalogue.tiers if tier.scaling.min_replicas == 0},
            failures=catalogue.gateway.circuit_failures,
            cooldown_s=catalogue.gateway.circuit_cooldown_s,
            clock=time.monotonic,
        )
        tiers = [tier.name for tier in catalogue.tiers]
        calls = {tier: TierHandle(tier) for tier in tiers}
        self._stop_watches()
        try:
            experiments()  # before the first request, so that no caller sees another policy for a moment
        except JournalAway as error:
            logger.warning("experiments are not known yet: %s", error)
        vectors = self._vectors_of(catalogue)
        self._gateway = Gateway(
            catalogue, self._journal, self._recorder, deciders, board, calls, ScorerHandle(), vectors
        )
        self._experiments = ExperimentsApi(
            self._journal,
            self._ledger,
            live,
            catalogue.arms(),
            experiments,
            encodes=catalogue.encoder is not None,
        )
        self._watches = (
            Watch("experiments", experiments, EXPERIMENTS_EVERY_S),
            Watch("shadows", self._shadow_log.flush, SHADOWS_EVERY_S),
            Watch("replicas", ReplicasLook(board, calls), REPLICAS_EVERY_S),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return http_app(self._in_use, self._experiments_in_use, self._place.admin, self._place.body_limit_bytes)

    def _vectors_of(self, catalogue: Catalogue) -> PromptVectors | None:
        """Loaded once: a repriced tier must not cost the seconds that this takes."""
        if catalogue.encoder != self._encoder:
            self._encoder, self._vectors = catalogue.encoder, load_vectors(catalogue.encoder)
        return self._vectors

    def _in_use(self) -> Gateway:
        assert self._gateway is not None, "Serve calls reconfigure before it sends requests"
        return self._gateway

    def _experiments_in_use(self) -> ExperimentsApi:
        assert self._experiments is not None, "as above"
        return self._experiments

    def _stop_watches(self) -> None:
        for watch in self._watches:
            watch.stop()

    def __del__(self) -> None:
        if hasattr(self, "_watches"):
            self._stop_watches()
            self._writer.close(flush_s=WAIT_S)
            with suppress(JournalAway):
                self._shadow_log.flush()
            self._journal.close()


class TierHandle:
    """Calls to one tier's application. Cancelling the call cancels the work where it has not begun."""

    def __init__(self, tier: str) -> None:
        self._handle = _handle(TIER_DEPLOYMENT, tier_application(tier), "generate")

    async def __call__(self, work: Work) -> Drawn:
        response = self._handle.remote(work)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    def running_replicas(self) -> int | None:
        """Replicas that calls may go to now; None where that is not known.

        The handle is told by Serve and drops a dead replica at once, but shows the number to nobody. serve.status()
        would tell too: later, and for a tenth of a second of this process's time.
        """
        if not self._handle.running_replicas_populated():
            return None
        try:
            return len(self._handle._router._asyncio_router._active_request_router.curr_replicas)
        except AttributeError:  # another Ray; a test fails then, and tiers count as available until calls fail
            return None


class ScorerHandle:
    """Calls to the scorer's application."""

    def __init__(self) -> None:
        self._handle = _handle(SCORER_DEPLOYMENT, SCORER, "score")

    async def __call__(self, images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return await self._handle.remote(tuple(images), prompt)


def _handle(deployment: str, application: str, method: str) -> DeploymentHandle:
    # Without the check a handle can be had before its application is there; calls wait for it, within their deadline.
    return serve.get_deployment_handle(deployment, application, _check_exists=False).options(method_name=method)
