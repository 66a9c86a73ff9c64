"""One request from body to answer: check, decide, draw, record. Knows tiers and scorer as calls, and no Ray.

variant   which experiment's arm owns this caller, so which policy decides; none for a tier asked for by name
context   prompt features, the caller's weights and ceilings, each tier's live load
decide    in process; the decision goes to the journal while the tier already works
serve     `dispatch.py`; a dead, full or late replica -> the next arm, recorded as such
answer    only after decision and outcome are durable; the images go to the scorer afterwards
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bandit.context import Context, Limits, PromptFeatures, Weights
from bandit.errors import BadVector, Contradiction, NoArmAvailable, UnknownDecision, UnknownSchema
from bandit.features import DEFAULT_SCHEMA, VECTOR_SCHEMA, needs_vector
from bandit.journal import Journal
from bandit.rows import DecisionRow, OutcomeRow, SignalRow, Verdict
from bandit.signals import SignalKind
from bandit.validation import MAX_AMOUNT
from bandit.votes import is_learned, vote_source

from .answers import decision_body, image_body, image_headers, model_body, models_body
from .api import SEED_LIMIT, ImageRequest, Offer, feedback_request, image_request, timeout_s
from .catalogue import Catalogue
from .deciding import Decided, meets_limits
from .dispatch import Dispatcher, NotServed, Served, TierCall
from .experiments_deciding import Choice, Deciders
from .health import Health
from .load import LoadBoard
from .openai_errors import Refusal, overloaded, shown, unavailable
from .prompt_vectors import PromptVectors, Vector
from .recording import Recorder, Written, attempt_rows
from .routing import Attempt
from .scoring import ScoreCall, Scoring, ToScore
from .tier_app import Work

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """A body and its headers; `after` is to be called once they were sent."""

    body: bytes
    headers: Mapping[str, str]
    after: Callable[[], None]


@dataclass(slots=True)
class _Asked:
    """One request with what was decided for it."""

    request: ImageRequest
    decision_id: str
    created_s: float  # Unix time
    started_s: float  # monotonic
    seed: int
    caller_hash: str | None
    choice: Choice
    context: Context  # the arms as the policy that decided saw them, the caller's own weights and ceilings
    decided: Decided

    @property
    def latency_s(self) -> float:
        return time.monotonic() - self.started_s


class Gateway:
    """What the HTTP API does. Belongs to one event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        recorder: Recorder,
        deciders: Deciders,
        board: LoadBoard,
        calls: Mapping[str, TierCall],
        score: ScoreCall,
        vectors: PromptVectors | None = None,
    ) -> None:
        """`vectors`: sentence vectors of prompts; None: policies see words only."""
        self.offer = offer_of(catalogue)
        self.deciders = deciders
        self.board = board
        self._catalogue = catalogue
        self._journal = journal
        self._recorder = recorder
        self._dispatcher = Dispatcher(calls, board)
        self._vectors = vectors
        self._weights: Mapping[str, Weights] = {name: catalogue.weights_for(name) for name in catalogue.qualities()}
        self._limits: Mapping[str, Limits] = {name: catalogue.limits_for(name) for name in catalogue.qualities()}
        self._scorer_name = f"scorer:{catalogue.scorer.class_path.partition(':')[2]}"[:128]
        self.scoring = Scoring(score, self._note_quality)
        self.health = Health(catalogue, journal, recorder, deciders, board, self.scoring, vectors)
        self._admitted = 0
        self._admitted_limit = catalogue.gateway.max_ongoing_requests + catalogue.gateway.max_queued_requests
        self._started_s = time.time()

    async def images(self, body: Mapping[str, Any], timeout_header: str | None = None) -> ImageAnswer:
        """POST /v1/images/generations. Raises Refusal."""
        started_s = time.monotonic()
        if self._admitted >= self._admitted_limit:
            raise overloaded(f"{self._admitted} requests are being served; this gateway takes no more of them now.")
        request = image_request(body, self.offer)
        limit_s = timeout_s(timeout_header, self._catalogue.gateway.deadline_s)
        hurried = limit_s < self._catalogue.gateway.deadline_s
        self._recorder.check()
        self._admitted += 1
        try:
            vector = None if self._vectors is None else await self._vectors.of(request.prompt)
            asked = self._decide(request, started_s, vector)
            return await self._serve(asked, started_s + limit_s, hurried=hurried)
        finally:
            self._admitted -= 1

    async def feedback(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /v1/feedback: `learned` says whether this rating was learned or is going to be. Raises Refusal.

        Learned is the first rating of a decision, and if its request named a `user`, the first by that user. Not
        learned are all others, ratings of what was not served, and those that come `learning.vote_window_s` after it.
        """
        feedback = feedback_request(body)
        source = vote_source(None if feedback.user is None else self._recorder.hashed(feedback.user))
        row = SignalRow(feedback.decision_id, SignalKind.RATING.value, source, feedback.rating, time.time())
        if not _is_id(feedback.decision_id):
            raise _unknown_decision(feedback.decision_id)
        try:
            (verdict,) = await self._recorder.durable(self._recorder.write(row))
        except UnknownDecision as error:
            raise _unknown_decision(feedback.decision_id) from error
        except Contradiction as error:
            raise Refusal(
                409, "This decision was rated before, with another rating; the first one stays.", code="rated_before"
            ) from error
        story = await asyncio.to_thread(self._journal.read_decision, feedback.decision_id)
        learned = story is not None and is_learned(story, source, self._catalogue.learning.vote_window_s)
        return {
            "object": "feedback",
            "decision_id": feedback.decision_id,
            "rating": feedback.rating,
            "status": (verdict if learned or verdict is Verdict.DUPLICATE else Verdict.LATE).value,
            "learned": learned,
        }

    async def decision(self, decision_id: str) -> dict[str, Any]:
        """GET /v1/decisions/{id}. Raises Refusal, JournalAway."""
        story = await asyncio.to_thread(self._journal.read_decision, decision_id) if _is_id(decision_id) else None
        if story is None:
            raise _unknown_decision(decision_id)
        return decision_body(story)

    def models(self) -> dict[str, Any]:
        """GET /v1/models."""
        return models_body(tuple(self.offer.models), self._started_s)

    def model(self, name: str) -> dict[str, Any]:
        """GET /v1/models/{id}. Raises Refusal."""
        if name not in self.offer.models:
            known = ", ".join(self.offer.models)
            raise Refusal(
                404, f"There is no model {shown(name)}; known: {known}.", code="model_not_found", param="model"
            )
        return model_body(name, self._started_s)

    def _decide(self, request: ImageRequest, started_s: float, vector: Vector | None) -> _Asked:
        names = self.offer.models[request.model]
        if request.size != "auto":
            names = tuple(name for name in names if request.size in self.offer.sizes[name])
        created_s = time.time()
        decision_id = f"dec_{int(created_s * 1000):012x}{secrets.token_hex(10)}"
        caller_hash = None if request.caller is None else self._recorder.hashed(request.caller)
        if request.model == "auto":
            choice = self.deciders.choose(caller_hash, decision_id, created_s)
        else:
            choice = self.deciders.live()
        context = Context(
            features=self._features(
                request.prompt, vector, choice.decider.features_schema if vector is None else VECTOR_SCHEMA
            ),
            arms=self.board.arms(names, patient=request.model != "auto"),
            weights=self._weights[request.quality],
            limits=self._limits_of(request),
        )
        try:
            decided, seen = self.deciders.decide(choice, context)
        except NoArmAvailable as error:
            raise unavailable(
                f"No tier that may serve this works at the moment: {', '.join(names)}.",
                "no_tier_available",
                self.board.retry_after_s(names),
            ) from error
        seed = secrets.randbelow(SEED_LIMIT) if request.seed is None else request.seed
        return _Asked(request, decision_id, created_s, started_s, seed, caller_hash, choice, seen, decided)

    def _limits_of(self, request: ImageRequest) -> Limits:
        """The caller's own ceilings before those of the quality."""
        preset = self._limits[request.quality]
        if request.max_cost_usd is None and request.max_latency_s is None:
            return preset
        return Limits(
            latency_s=preset.latency_s if request.max_latency_s is None else min(request.max_latency_s, MAX_AMOUNT),
            cost_usd=preset.cost_usd if request.max_cost_usd is None else min(request.max_cost_usd, MAX_AMOUNT),
        )

    def _features(self, prompt: str, vector: Vector | None, schema: str) -> PromptFeatures:
        """Those that a policy asks for; where they cannot be had here, the default ones.

        A policy refuses those that it does not understand, and is replaced like any that misbehaves.
        """
        try:
            return self._recorder.features(prompt, schema, vector if needs_vector(schema) else None)
        except (UnknownSchema, BadVector) as error:
            logger.error("features %s: %s", schema, error)
            return self._recorder.features(prompt, DEFAULT_SCHEMA)

    def _decide_beside(self, asked: _Asked) -> None:
        """Shadows, in the event loop: each takes microseconds, while the tier works."""
        self.deciders.decide_beside(asked.choice, asked.context, asked.decision_id, asked.created_s)

    async def _serve(self, asked: _Asked, deadline_s: float, *, hurried: bool) -> ImageAnswer:
        request, attempts = asked.request, list[Attempt]()
        size_px = self.offer.sizes_px.get(request.size)
        works = [
            Work(
                request.prompt,
                (asked.seed + i) % SEED_LIMIT,
                preset="",  # the dispatcher's, as an attempt may go to another arm
                size_px=size_px,
                file_format=request.output_format,
                compression=request.output_compression,
            )
            for i in range(request.n)
        ]
        decision_written = self._recorder.write(self._decision_row(asked))
        if asked.choice.shadows:
            asyncio.get_running_loop().call_soon(self._decide_beside, asked)
        try:
            served = await self._dispatcher.draw(
                works,
                asked.decided.decision,
                asked.context.arms,
                pinned=request.model != "auto",
                deadline_s=deadline_s,
                attempts=attempts,
                hurried=hurried,
            )
        except asyncio.CancelledError:
            self._recorder.write_unawaited(self._outcome_row(asked, "cancelled", attempts))
            raise
        except NotServed as error:
            refusal = self._refusal(error, asked)
            row = self._outcome_row(asked, "refused" if error.reason == "full" else "failed", attempts)
            await self._recorder.durable(decision_written, self._recorder.write(row))
            raise refusal from error
        except Exception:
            self._recorder.write_unawaited(self._outcome_row(asked, "failed", attempts))
            raise
        return await self._answer(asked, served, decision_written)

    async def _answer(self, asked: _Asked, served: Served, decision_written: Written) -> ImageAnswer:
        request = asked.request
        cost_usd = served.arm.price_usd * request.n
        latency_s = asked.latency_s
        row = self._outcome_row(asked, "served", served.attempts, served, latency_s=latency_s, cost_usd=cost_usd)
        outcome_written = self._recorder.write(row)
        body = image_body(
            request,
            asked.decision_id,
            asked.decided,
            served,
            variant=asked.choice.variant,
            promoted_by=asked.choice.promoted_by,
            limits_met=meets_limits(asked.context, asked.decided.decision, served.arm),
            created_s=asked.created_s,
            latency_s=latency_s,
            cost_usd=cost_usd,
            seed=asked.seed,
            size_px=self.offer.sizes_px.get(request.size) or served.images[0].native_size_px,
        )
        await self._recorder.durable(decision_written, outcome_written)
        job = ToScore(asked.decision_id, request.prompt, tuple(image.pixels for image in served.images))
        headers = image_headers(asked.decision_id, asked.decided, served, cost_usd)
        return ImageAnswer(body, headers, lambda: self.scoring.add(job))

    def _decision_row(self, asked: _Asked) -> DecisionRow:
        request, decided = asked.request, asked.decided
        arm = next(arm for arm in asked.context.arms if arm.name == decided.decision.arm)
        height_px, width_px = self.offer.sizes_px[
            request.size if request.size != "auto" else self._catalogue.tier(arm.tier).sizes[0]
        ]
        return DecisionRow(
            decision_id=asked.decision_id,
            created_at_s=asked.created_s,
            model_requested=request.model,
            policy=decided.policy,
            context=asked.context,
            decision=decided.decision,
            variant=asked.choice.variant,
            snapshot_version=decided.version,
            caller_hash=asked.caller_hash,
            prompt_hmac=self._recorder.hashed(request.prompt),
            prompt=self._recorder.prompt(request.prompt),
            images=request.n,
            width_px=width_px,
            height_px=height_px,
            seed=asked.seed,
        )

    def _outcome_row(
        self,
        asked: _Asked,
        status: str,
        attempts: list[Attempt] | tuple[Attempt, ...],
        served: Served | None = None,
        *,
        latency_s: float | None = None,
        cost_usd: float = 0.0,
    ) -> OutcomeRow:
        return OutcomeRow(
            decision_id=asked.decision_id,
            status=status,
            served_arm=None if served is None else served.arm.name,
            latency_s=asked.latency_s if latency_s is None else latency_s,
            cost_usd=cost_usd,
            completed_at_s=time.time(),
            service_s=None if served is None else served.service_s,
            replica_id=None if served is None else served.images[0].replica_id,
            attempts=attempt_rows(attempts),
        )

    def _refusal(self, error: NotServed, asked: _Asked) -> Refusal:
        tried = ", ".join(dict.fromkeys(attempt.arm for attempt in error.attempts)) or asked.decided.decision.arm
        if error.reason == "full":
            refusal = overloaded(f"Every tier that may serve this is full ({tried}).")
        elif error.reason == "late":
            refusal = Refusal(504, f"Not drawn within its deadline (tried {tried}).", code="deadline_exceeded")
        elif error.reason == "died":
            refusal = unavailable(f"The replicas that drew this were lost (tried {tried}).", "tier_lost")
        else:
            refusal = Refusal(
                500, f"The image could not be drawn (tried {tried}).", code="drawing_failed", retryable=True
            )
        refusal.headers["x-switchboard-decision-id"] = asked.decision_id
        return refusal

    def _note_quality(self, decision_id: str, quality: float) -> None:
        row = SignalRow(decision_id, SignalKind.QUALITY.value, self._scorer_name, quality, time.time())
        self._recorder.write_unawaited(row)


def offer_of(catalogue: Catalogue) -> Offer:
    """What a caller may ask for: auto, every tier, every arm."""
    arms = catalogue.arms()
    models = {"auto": tuple(arm.name for arm in arms)}
    for tier in catalogue.tiers:
        models[tier.name] = tuple(arm.name for arm in arms if arm.tier == tier.name)
    models |= {arm.name: (arm.name,) for arm in arms}
    tier_of = {arm.name: arm.tier for arm in arms}
    sizes = {
        name: frozenset(size for arm in names for size in catalogue.tier(tier_of[arm]).sizes)
        for name, names in models.items()
    }
    return Offer(
        models=models,
        sizes_px=catalogue.sizes_px(),
        sizes=sizes,
        qualities=("auto", *(name for name in catalogue.qualities() if name != "auto")),
        max_prompt_characters=catalogue.gateway.max_prompt_characters,
        max_images=catalogue.gateway.max_images,
    )


def _is_id(text: str) -> bool:
    return len(text) <= 128 and text.isascii() and text.replace("_", "").isalnum()


def _unknown_decision(decision_id: str) -> Refusal:
    return Refusal(404, f"There is no decision {shown(decision_id)}.", code="decision_not_found", param="decision_id")
