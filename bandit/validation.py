"""What must hold of a context or a record before any model may see it.

Vowpal Wabbit takes an infinite cost or feature without a word and answers NaN for good, so every number is checked
here, on the way in, and nothing after this file has to.
"""

from __future__ import annotations

import re
from math import isfinite

from .context import ArmContext, Context, Record
from .errors import BadContext, BadRecord

# Features are roughly in [-1, 1]; far beyond that, float32 sums overflow although every value is finite.
MAX_FEATURE = 100.0
MAX_AMOUNT = 1e9  # weights, seconds, USD

_NAMES = re.compile(r"[a-z0-9_ ]*")


def check_context(context: Context, schema: str) -> None:
    """Raises BadContext if a policy that learned from `schema` must not see this context."""
    features = context.features
    if features.schema != schema:
        raise BadContext(f"features are of schema {features.schema!r}, this policy learns from {schema!r}")
    # One match over all names is ten times cheaper than one each. A space inside a name only makes two names.
    if _NAMES.fullmatch(" ".join(features.numeric)) is None or _NAMES.fullmatch(" ".join(features.tokens)) is None:
        raise BadContext("features hold a name with letters other than [a-z0-9_]; make them with features.extract")
    for name, value in features.numeric.items():
        if not -MAX_FEATURE <= value <= MAX_FEATURE:
            raise BadContext(f"feature {name} is {value!r}; allowed: -{MAX_FEATURE:g} to {MAX_FEATURE:g}")
    for value in features.vector:
        if not -MAX_FEATURE <= value <= MAX_FEATURE:
            raise BadContext(f"the features' vector holds {value!r}; allowed: -{MAX_FEATURE:g} to {MAX_FEATURE:g}")
    for name, limit in (("latency_s", context.limits.latency_s), ("cost_usd", context.limits.cost_usd)):
        if limit is not None and not 0 <= limit <= MAX_AMOUNT:
            raise BadContext(f"limit {name} is {limit!r}; allowed: 0 to {MAX_AMOUNT:g}, or none")
    weights = context.weights
    for weight in (weights.quality, weights.latency_per_s, weights.cost_per_usd):
        if not 0 <= weight <= MAX_AMOUNT:
            raise BadContext(f"{weights} holds {weight!r}; allowed: 0 to {MAX_AMOUNT:g}")
    for arm in context.arms:
        if not (0 <= arm.price_usd <= MAX_AMOUNT and 0 <= arm.service_s <= MAX_AMOUNT):
            raise BadContext(f"{arm} holds a price_usd or service_s outside 0 to {MAX_AMOUNT:g}")
        if not all(0 <= count <= MAX_AMOUNT for count in (arm.in_flight, arm.replicas, arm.batch)):
            raise BadContext(f"{arm} holds in_flight, replicas or batch outside 0 to {MAX_AMOUNT:g}")
    if len({arm.name for arm in context.arms}) != len(context.arms):
        raise BadContext(f"an arm is there twice: {', '.join(arm.name for arm in context.arms)}")


def check_record(record: Record, schema: str) -> ArmContext:
    """The arm that truly served. Raises BadRecord if no policy of `schema` may learn from this record."""
    try:
        check_context(record.context, schema)
    except BadContext as error:
        raise BadRecord(f"decision {record.decision_id}: {error}") from error
    for name, value, highest in (
        ("quality", record.quality, 1.0),
        ("rating", 0.0 if record.rating is None else record.rating, 1.0),
        ("latency_s", record.latency_s, MAX_AMOUNT),
        ("cost_usd", record.cost_usd, MAX_AMOUNT),
        *((f"late {arm}", elapsed_s, MAX_AMOUNT) for arm, elapsed_s in record.late),
    ):
        if not 0 <= value <= highest:
            raise BadRecord(f"decision {record.decision_id}: {name} is {value!r}; allowed: 0 to {highest:g}")
    if record.images < 1:
        raise BadRecord(f"decision {record.decision_id}: images is {record.images!r}; allowed: 1 or more")
    if record.amends and record.rating is None:
        raise BadRecord(f"decision {record.decision_id}: amends what was learned, but there is no rating in it")
    if not isfinite(record.decision.propensity):
        raise BadRecord(f"decision {record.decision_id}: propensity is {record.decision.propensity!r}, not finite")
    for arm in record.context.arms:
        if arm.name == record.served_arm:
            return arm
    known = ", ".join(arm.name for arm in record.context.arms)
    raise BadRecord(f"decision {record.decision_id}: served arm {record.served_arm!r} is none of {known}")


def propensity_describes(record: Record) -> bool:
    """Whether what was served was drawn with the logged propensity, so that an off-policy estimate may use it."""
    decision = record.decision
    if record.served_arm != decision.arm or not 0 < decision.propensity <= 1:
        return False
    return any(arm.name == decision.arm and arm.available for arm in record.context.arms)
