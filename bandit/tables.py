"""The tables of the journal: their shape, nothing else.

decisions   what was seen and drawn                        appended by gateways
outcomes    what was in truth served                       appended by gateways, one per decision
signals     measured consequences                          appended by scorer and users
joins       closed stories, numbered 1, 2, 3, ...          appended by the learner that holds the lease
open_joins  outcomes and votes that no join closed yet     a work list, so that nobody scans the history
bad_records joins that a policy refused to learn           appended by the learner
leases      who may write joins, bad_records and snapshots
snapshots   the newest states of each policy

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
