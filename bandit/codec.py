"""Context, Decision and Record to JSON values and back, exactly: floats keep every bit, mappings keep their order.

Pure functions on dicts and lists; the database turns those into text. What cannot be read back raises BadRow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .context import ArmContext, Context, Decision, Limits, Prediction, PromptFeatures, Record, Weights
from .errors import BadRow

Json = dict[str, Any]


def to_text(value: object) -> str:
    """Compact JSON text. NaN and infinities raise ValueError: no database would take them as JSON."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def features_to_json(features: PromptFeatures) -> Json:
    """Without the schema's name, which has a column of its own."""
    value: Json = {"numeric": dict(features.numeric), "tokens": list(features.tokens)}
    return value | {"vector": list(features.vector)} if features.vector else value


def arm_to_json(arm: ArmContext) -> Json:
    return {
        "name": arm.name,
        "tier": arm.tier,
        "preset": arm.preset,
        "family": arm.family,
        "price_usd": arm.price_usd,
        "service_s": arm.service_s,
        "in_flight": arm.in_flight,
        "replicas": arm.replicas,
        "batch": arm.batch,
        "available": arm.available,
    }


def weights_to_json(weights: Weights, limits: Limits) -> Json:
    """What the caller asked for: weights and, under a key of their own where there are any, limits."""
    value: Json = {
        "quality": weights.quality,
        "latency_per_s": weights.latency_per_s,
        "cost_per_usd": weights.cost_per_usd,
    }
    if limits != Limits():
        value["limits"] = {"latency_s": limits.latency_s, "cost_usd": limits.cost_usd}
    return value


def predictions_to_json(predictions: Mapping[str, Prediction]) -> Json:
    return {
        arm: {
            "quality": prediction.quality,
            "latency_s": prediction.latency_s,
            "cost_usd": prediction.cost_usd,
            "utility": prediction.utility,
        }
        for arm, prediction in predictions.items()
    }


def context_from_json(features_schema: str, features: Json, arms: list[Json], weights: Json) -> Context:
    """The context from its columns. Raises BadRow if they do not hold one."""
    try:
        asked = dict(weights)
        limits = asked.pop("limits", {})
        return Context(
            features=PromptFeatures(
                schema=features_schema,
                numeric=dict(features["numeric"]),
                tokens=tuple(features["tokens"]),
                vector=tuple(features.get("vector", ())),
            ),
            arms=tuple(ArmContext(**arm) for arm in arms),
            weights=Weights(**asked),
            limits=Limits(**limits),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRow(f"stored context cannot be read back: {error!r}") from error


def decision_from_json(arm: str, propensity: float, probabilities: Json, predictions: Json) -> Decision:
    """The decision from its columns. Raises BadRow if they do not hold one."""
    try:
        return Decision(
            arm=arm,
            propensity=propensity,
            probabilities=dict(probabilities),
            predictions={name: Prediction(**prediction) for name, prediction in predictions.items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRow(f"stored decision cannot be read back: {error!r}") from error


def record_to_json(record: Record) -> Json:
    """One value that holds the whole record, so that a fold needs no other table."""
    context, decision = record.context, record.decision
    return {
        "decision_id": record.decision_id,
        "features_schema": context.features.schema,
        "features": features_to_json(context.features),
        "arms": [arm_to_json(arm) for arm in context.arms],
        "weights": weights_to_json(context.weights, context.limits),
        "arm": decision.arm,
        "propensity": decision.propensity,
        "probabilities": dict(decision.probabilities),
        "predictions": predictions_to_json(decision.predictions),
        "served_arm": record.served_arm,
        "latency_s": record.latency_s,
        "cost_usd": record.cost_usd,
        "quality": record.quality,
        "quality_is_default": record.quality_is_default,
        "rating": record.rating,
        "amends": record.amends,
        "images": record.images,
        "late": [list(one) for one in record.late],
        "variant": record.variant,
        "decided_at_s": record.decided_at_s,
    }


def record_from_json(value: Json) -> Record:
    """The inverse of `record_to_json`. Raises BadRow if the value holds no record."""
    try:
        return Record(
            decision_id=value["decision_id"],
            context=context_from_json(value["features_schema"], value["features"], value["arms"], value["weights"]),
            decision=decision_from_json(
                value["arm"], value["propensity"], value["probabilities"], value["predictions"]
            ),
            served_arm=value["served_arm"],
            latency_s=value["latency_s"],
            cost_usd=value["cost_usd"],
            quality=value["quality"],
            quality_is_default=value["quality_is_default"],
            rating=value["rating"],
            amends=value["amends"],
            images=value.get("images", 1),  # absent in records of older versions, as is `late`
            late=tuple((str(arm), float(elapsed_s)) for arm, elapsed_s in value.get("late", ())),
            variant=value.get("variant"),
            decided_at_s=value.get("decided_at_s", 0.0),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRow(f"stored record cannot be read back: {error!r}") from error
