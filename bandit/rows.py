"""What goes into the journal and comes out of it: frozen rows, and the check that each passes before it is stored."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum

from .context import Context, Decision, Record
from .errors import BadRow
from .signals import check_signal

STATUSES = ("served", "failed", "cancelled", "refused")
LEARNED_REASONS = ("complete", "window", "vote")  # of joins that hold a record
# Of joins of votes: learned; after the vote window; after another vote; by somebody else than the caller; damaged.
VOTE_REASONS = ("vote", "late", "already_rated", "other_caller", "unreadable")
ERROR_CHARACTERS = 2000  # longer error texts of an attempt are cut here


class Verdict(StrEnum):
    """What became of a row that was not refused."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the very same row was stored before
    LATE = "late"  # a signal that is kept but not learned: not served, or too late, also after another vote


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One request and the arm drawn for it. `prompt` is None unless the operator opted in to keeping prompts."""

    decision_id: str
    created_at_s: float  # Unix time
    model_requested: str  # "auto", a tier or an arm, as the caller gave it
    policy: str
    context: Context
    decision: Decision
    variant: str | None = None
    snapshot_version: int | None = None  # None: the policy had learned nothing yet
    caller_hash: str | None = None
    prompt_hmac: str | None = None
    prompt: str | None = None
    images: int = 1
    width_px: int = 64
    height_px: int = 64
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of an arm on the way to an answer; `error` is None where it worked."""

    arm: str
    error: str | None
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What became of a decision. `served_arm` is None unless the status is served."""

    decision_id: str
    status: str  # one of STATUSES
    served_arm: str | None
    latency_s: float  # from the request's arrival to its answer
    cost_usd: float
    completed_at_s: float  # Unix time
    service_s: float | None = None  # time of work on the replica; None if nothing was served
    replica_id: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class SignalRow:
    """A measured consequence of one decision, see `signals.py`. One per decision, kind and source."""

    decision_id: str
    kind: str
    source: str
    value: float
    received_at_s: float  # Unix time


@dataclass(frozen=True, slots=True)
class JoinRow:
    """One closed story at its position in the fold. `record` is None where there is nothing to learn."""

    position: int
    decision_id: str
    closed_at_s: float
    reason: str  # "complete" | "window" | "not_served" | "unreadable"; of a vote one of VOTE_REASONS
    record: Record | None
    source: str = ""  # "": the story of the outcome; else the source of the one vote that is learned here


@dataclass(frozen=True, slots=True)
class Story:
    """All that the journal knows of one decision."""

    decision: DecisionRow
    outcome: OutcomeRow | None
    signals: tuple[SignalRow, ...]  # in order of arrival
    join: JoinRow | None
    vote_joins: tuple[JoinRow, ...] = ()  # of ratings that are not part of `join`, in the fold's order
    waiting_votes: tuple[str, ...] = ()  # sources of ratings that wait for a join of their own


Row = DecisionRow | OutcomeRow | SignalRow

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def checked(row: Row) -> Row:
    """The row as it can be stored: texts made storable, numbers checked. Raises BadRow or, for signals, OutOfRange."""
    if not _is_id(row.decision_id):
        shown = ascii(row.decision_id)[:60]
        raise BadRow(f"decision id {shown} cannot be stored; allowed: 1 to 128 letters, digits and any of _.:-")
    if isinstance(row, DecisionRow):
        return _checked_decision(row)
    if isinstance(row, OutcomeRow):
        return _checked_outcome(row)
    kind, value, source = check_signal(row.kind, row.value, row.source)
    _number("signals.received_at_s", row.received_at_s)
    return replace(row, kind=str(kind), value=value, source=source)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def storable(text: str) -> str:
    """The text with U+FFFD for NUL and lone surrogates, which no database can store."""
    if "\x00" not in text and text.isascii():
        return text
    return text.replace("\x00", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _checked_decision(row: DecisionRow) -> DecisionRow:
    _number("decisions.created_at_s", row.created_at_s)
    _number("decisions.propensity", row.decision.propensity, above=0.0, most=1.0)
    for arm, probability in row.decision.probabilities.items():
        _number(f"decisions.probabilities[{ascii(arm)[:60]}]", probability, least=0.0, most=1.0)
    if row.decision.arm not in row.decision.probabilities:
        raise BadRow(
            f"decisions.arm {ascii(row.decision.arm)[:60]} has no probability; it must be one of the context's arms"
        )
    for name, count in (("images", row.images), ("width_px", row.width_px), ("height_px", row.height_px)):
        _whole(f"decisions.{name}", count, 1, 2**31 - 1)
    if row.seed is not None:
        _whole("decisions.seed", row.seed, -(2**63), 2**63 - 1)
    if row.snapshot_version is not None:
        _whole("decisions.snapshot_version", row.snapshot_version, 0, 2**63 - 1)
    return replace(
        row,
        model_requested=storable(row.model_requested),
        policy=storable(row.policy),
        variant=_storable_or_none(row.variant),
        caller_hash=_storable_or_none(row.caller_hash),
        prompt_hmac=_storable_or_none(row.prompt_hmac),
        prompt=_storable_or_none(row.prompt),
    )


def _checked_outcome(row: OutcomeRow) -> OutcomeRow:
    if row.status not in STATUSES:
        raise BadRow(f"outcomes.status {ascii(row.status)[:60]} is not known; allowed: {', '.join(STATUSES)}")
    if (row.status == "served") != (row.served_arm is not None):
        shown = ascii(row.served_arm)[:60]
        raise BadRow(f"outcomes.served_arm is {shown} with status {row.status}; what was served has an arm, else None")
    _number("outcomes.latency_s", row.latency_s, least=0.0)
    _number("outcomes.cost_usd", row.cost_usd, least=0.0)
    _number("outcomes.completed_at_s", row.completed_at_s)
    if row.service_s is not None:
        _number("outcomes.service_s", row.service_s, least=0.0)
    attempts = []
    for attempt in row.attempts:
        _number("outcomes.attempts.elapsed_s", attempt.elapsed_s, least=0.0)
        error = _storable_or_none(attempt.error)
        attempts.append(replace(attempt, arm=storable(attempt.arm), error=error and error[:ERROR_CHARACTERS]))
    return replace(
        row,
        served_arm=_storable_or_none(row.served_arm),
        replica_id=_storable_or_none(row.replica_id),
        attempts=tuple(attempts),
    )


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _number(
    name: str, value: object, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(f"{name} is {ascii(value)[:60]}; it must be a finite number")
    if value < least or value <= above or value > most:
        low = f"above {above}" if above > -math.inf else f"at least {least}"
        raise BadRow(f"{name} is {value}; it must be {low}" + (f" and at most {most}" if most < math.inf else ""))


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRow(f"{name} is {ascii(value)[:60]}; it must be a whole number from {least} to {most}")
