"""Bodies and headers of the answers of the HTTP API. No decisions, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bandit.rows import Story
from bandit.votes import votes

from .api import ImageRequest
from .deciding import Decided
from .dispatch import Served

Json = dict[str, Any]


def image_body(
    request: ImageRequest,
    decision_id: str,
    decided: Decided,
    served: Served,
    *,
    variant: str | None,
    promoted_by: str | None,
    limits_met: bool | None,
    created_s: float,
    latency_s: float,
    cost_usd: float,
    seed: int,
    size_px: tuple[int, int],
) -> bytes:
    """The JSON of an answered request. The images' base64 is copied once, from the replica's bytes into the body.

    `arm`, `tier` and `preset` drew the images; `propensity` is the probability with which `decided_arm` was drawn. The
    two arms differ after a failure, and then the propensity says nothing about the arm that served. `variant` is the
    experiment's ("experiment:variant"), `promoted_by` the experiment whose promotion made the policy the live one, and
    `limits_met` whether the arm was expected to be within the caller's ceilings: null without any. `notices` says
    what a tier had to change ("the prompt is longer than ...").
    """
    native_px = served.images[0].native_size_px
    rest = {
        "size": _written(size_px),
        "quality": request.quality,
        "output_format": request.output_format,
        "switchboard": {
            "decision_id": decision_id,
            "tier": served.arm.tier,
            "preset": served.arm.preset,
            "arm": served.arm.name,
            "policy": decided.policy,
            "variant": variant,
            "promoted_by": promoted_by,
            "limits_met": limits_met,
            "decided_arm": decided.decision.arm,
            "propensity": decided.decision.propensity,
            "cost_usd": cost_usd,
            "latency_s": round(latency_s, 6),
            "seed": seed,
            "native_size": _written(native_px),
            "attempts": [attempt.as_json() for attempt in served.attempts],
            "notices": sorted({image.notice for image in served.images if image.notice is not None}),
        },
    }
    parts = [b'{"created":%d,"data":[' % created_s]
    for position, image in enumerate(served.images):
        parts += [b',{"b64_json":"' if position else b'{"b64_json":"', image.file_base64, b'"}']
    parts += [b"],", json.dumps(rest, separators=(",", ":")).encode()[1:]]
    return b"".join(parts)


def image_headers(decision_id: str, decided: Decided, served: Served, cost_usd: float) -> dict[str, str]:
    """What a caller reads without parsing the body."""
    return {
        "x-switchboard-decision-id": decision_id,
        "x-switchboard-tier": served.arm.tier,
        "x-switchboard-policy": decided.policy,
        "x-switchboard-cost-usd": f"{cost_usd:.10g}",
    }


def models_body(names: Sequence[str], created_s: float) -> Json:
    """GET /v1/models."""
    return {"object": "list", "data": [model_body(name, created_s) for name in names]}


def model_body(name: str, created_s: float) -> Json:
    """GET /v1/models/{id}."""
    return {"id": name, "object": "model", "created": int(created_s), "owned_by": "switchboard"}


def decision_body(story: Story) -> Json:
    """GET /v1/decisions/{id}: why this tier, and what came of it. No prompt, unless the operator keeps prompts."""
    row, outcome, join = story.decision, story.outcome, story.join
    decision, context = row.decision, row.context
    quality = next((signal.value for signal in story.signals if signal.kind == "quality"), None)
    rated = votes(story)
    ratings = [vote.signal.value for vote in rated]
    return {
        "decision_id": row.decision_id,
        "created": int(row.created_at_s),
        "model": row.model_requested,
        "policy": row.policy,
        "variant": row.variant,
        "snapshot_version": row.snapshot_version,
        "arm": decision.arm,
        "propensity": decision.propensity,
        "weights": {
            "quality": context.weights.quality,
            "latency_per_s": context.weights.latency_per_s,
            "cost_per_usd": context.weights.cost_per_usd,
        },
        "limits": {"max_cost_usd": context.limits.cost_usd, "max_latency_s": context.limits.latency_s},
        "features": {"schema": context.features.schema, **_numbers(context.features.numeric)},
        "arms": [
            {
                "arm": arm.name,
                "tier": arm.tier,
                "preset": arm.preset,
                "probability": decision.probabilities[arm.name],
                "predicted": _predicted(story, arm.name),
                "price_usd": arm.price_usd,
                "service_s": arm.service_s,
                "in_flight": arm.in_flight,
                "replicas": arm.replicas,
                "available": arm.available,
            }
            for arm in context.arms
        ],
        "images": row.images,
        "seed": row.seed,
        "prompt": row.prompt,
        "outcome": None
        if outcome is None
        else {
            "status": outcome.status,
            "arm": outcome.served_arm,
            "replica_id": outcome.replica_id,
            "latency_s": outcome.latency_s,
            "service_s": outcome.service_s,
            "cost_usd": outcome.cost_usd,
            "attempts": [
                {"arm": attempt.arm, "error": attempt.error, "elapsed_s": attempt.elapsed_s}
                for attempt in outcome.attempts
            ],
        },
        "measured": {"quality": quality, "rating": sum(ratings) / len(ratings) if ratings else None},
        "votes": [
            {
                "rating": vote.signal.value,
                "received": int(vote.signal.received_at_s),
                "state": vote.state.value,
                "reason": vote.reason,
            }
            for vote in rated
        ],
        "join": {"state": "open" if join is None else "closed", "reason": None if join is None else join.reason},
    }


def _predicted(story: Story, arm: str) -> Json | None:
    prediction = story.decision.decision.predictions.get(arm)
    if prediction is None:
        return None
    return {
        "quality": prediction.quality,
        "latency_s": prediction.latency_s,
        "cost_usd": prediction.cost_usd,
        "utility": prediction.utility,
    }


def _numbers(numeric: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in numeric.items() if value}


def _written(size_px: tuple[int, int]) -> str:
    """(height, width) as OpenAI writes sizes: width first."""
    return f"{size_px[1]}x{size_px[0]}"
