"""The tables of the journal: their shape, nothing else.

decisions   what was seen and drawn                        appended by gateways
outcomes    what was in truth served                       appended by gateways, one per decision
signals     measured consequences                          appended by scorer and users
joins       closed stories, numbered 1, 2, 3, ...          appended by the learner that holds the lease
open_joins  outcomes and votes that no join closed yet     a work list, so that nobody scans the history
bad_records joins that a policy refused to learn           appended by the learner
leases      who may write joins, bad_records and snapshots
snapshots   the newest states of each policy
experiment_events  every change of every experiment, numbered 1, 2, 3, ... over all of them
shadow_decisions   what policies that act on nothing would have drawn    appended by gateways

A join's `source` is '' where it closes the story of an outcome. A rating that is not part of that story, because it
came after it was closed or was not the first, gets a join of its own with the rating's source.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# JSON, not JSONB: PostgreSQL's JSONB reorders keys, and a record must read back as it was written.
_json = JSON(none_as_null=True)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("created_at_s", Double, nullable=False),
    Column("model_requested", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("variant", Text),
    Column("snapshot_version", BigInteger),
    Column("features_schema", Text, nullable=False),
    Column("features", _json, nullable=False),
    Column("arms", _json, nullable=False),
    Column("weights", _json, nullable=False),
    Column("probabilities", _json, nullable=False),
    Column("predictions", _json, nullable=False),
    Column("arm", Text, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("caller_hash", Text),
    Column("prompt_hmac", Text),
    Column("prompt", Text),
    Column("images", Integer, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("seed", BigInteger),
)
# One experiment's decisions in the order of time; those outside of experiments are not in it.
Index(
    "decisions_variant",
    decisions.c.variant,
    decisions.c.created_at_s,
    sqlite_where=decisions.c.variant.is_not(None),
    postgresql_where=decisions.c.variant.is_not(None),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), primary_key=True),
    Column("served_arm", Text),
    Column("replica_id", Text),
    Column("status", Text, nullable=False),
    Column("latency_s", Double, nullable=False),
    Column("service_s", Double),
    Column("cost_usd", Double, nullable=False),
    Column("attempts", _json, nullable=False),
    Column("completed_at_s", Double, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("value", Double, nullable=False),
    Column("received_at_s", Double, nullable=False),
)

joins = Table(
    "joins",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("decision_id", Text, ForeignKey("outcomes.decision_id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("closed_at_s", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("record", _json),
    UniqueConstraint("decision_id", "source"),
)

open_joins = Table(
    "open_joins",
    metadata,
    Column("decision_id", Text, ForeignKey("outcomes.decision_id"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("ready", Boolean, nullable=False),  # nothing to wait for: not served, its quality is known, or a vote
    Column("since_s", Double, nullable=False),  # when the outcome was completed or the vote received
    Index("open_joins_due", "ready", "since_s", "decision_id", "source"),
)

bad_records = Table(
    "bad_records",
    metadata,
    Column("policy", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("decision_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at_s", Double, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("policy", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("features_schema", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Index("snapshots_newest", "policy", "version"),
)

experiment_events = Table(
    "experiment_events",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # two writers at once collide here
    Column("experiment_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at_s", Double, nullable=False),  # told by the writer's clock, which may jump; the order is `position`
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("body", _json, nullable=False),
    UniqueConstraint("experiment_id", "seq"),
)

shadow_decisions = Table(
    "shadow_decisions",
    metadata,
    # No foreign key: it is written beside the decision, and one whose decision was never stored judges nothing.
    Column("decision_id", Text, primary_key=True),
    Column("variant", Text, primary_key=True),  # "experiment:variant"
    Column("created_at_s", Double, nullable=False),
    Column("policy", Text, nullable=False),
    Column("snapshot_version", BigInteger),
    Column("arm", Text, nullable=False),
    Column("probabilities", _json, nullable=False),
    Index("shadow_decisions_variant", "variant", "created_at_s"),
)
