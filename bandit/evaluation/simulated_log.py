"""A journal with a known truth: traffic of `bandit.simulation`, acted on by one policy, written as a gateway would.

For tests, benchmarks and demonstrations of off-policy evaluation: what any policy is truly worth there is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bandit.context import ArmContext, Context, Decision, Record, Weights
from bandit.joins import close_due
from bandit.journal import Journal
from bandit.policy import Policy
from bandit.rows import Attempt, DecisionRow, OutcomeRow, Row, SignalRow
from bandit.signals import SignalKind
from bandit.simulation import ARMS, ONE_CALLER, Round, run

START_S = 1_700_000_000.0
EVERY_S = 10.0  # between two requests, so that each is complete before the next is decided
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written, with the truth of each round: expected utilities of all arms and of the policy that acted."""

    records: tuple[Record, ...]
    rounds: tuple[Round, ...]

    def value(self, arm: str) -> float:
        """Mean expected utility of always this arm."""
        return sum(one.arms[arm] for one in self.rounds) / len(self.rounds)

    def uniform(self) -> float:
        """Of the uniform policy."""
        return sum(one.uniform for one in self.rounds) / len(self.rounds)

    def acted(self) -> float:
        """Of the policy that acted."""
        return sum(one.expected for one in self.rounds) / len(self.rounds)


class _Recorded:
    """A policy whose records are kept."""

    def __init__(self, policy: Policy) -> None:
        self.name = policy.name
        self.records: list[Record] = []
        self._policy = policy

    def decide(self, context: Context, rng: Random) -> Decision:
        return self._policy.decide(context, rng)

    def learn(self, record: Record) -> None:
        self.records.append(record)
        self._policy.learn(record)

    def state(self) -> bytes:
        return self._policy.state()

    def restore(self, state: bytes) -> None:
        self._policy.restore(state)


def simulate(
    policy: Policy,
    rounds: int,
    seed: int,
    arms: Sequence[ArmContext] = ARMS,
    callers: Sequence[Weights] = ONE_CALLER,
) -> Simulated:
    """The log of a policy that learns from each outcome before the next request comes."""
    recorded = _Recorded(policy)
    truth = run(recorded, rounds, seed, arms, callers)
    return Simulated(tuple(recorded.records), tuple(truth))


def write(
    journal: Journal,
    records: Sequence[Record],
    policy: str,
    *,
    first_s: float = START_S,
    unserved: Mapping[str, str] | None = None,
) -> float:
    """Append a decision, an outcome and a quality for each record, and close the joins. Returns the next time.

    `unserved` holds the status ("failed", "refused", "cancelled") of the decisions that got no image.
    """
    now_s = first_s
    for start in range(0, len(records), _BATCH):
        rows: list[Row] = []
        for record in records[start : start + _BATCH]:
            rows += _rows(record, policy, now_s, (unserved or {}).get(record.decision_id))
            now_s += EVERY_S
        journal.append(rows)
        with journal.write() as connection:
            close_due(
                connection,
                now_s=now_s,
                window_s=EVERY_S / 2,
                vote_window_s=86400.0,
                default_quality=0.5,
                limit=len(rows),
            )
    return now_s


def _rows(record: Record, policy: str, now_s: float, lost: str | None = None) -> list[Row]:
    at_s = now_s + min(record.latency_s, EVERY_S / 4)
    served = Attempt(record.served_arm, None, record.latency_s)
    tried = () if record.served_arm == record.decision.arm else (Attempt(record.decision.arm, "ReplicaDied", 0.0),)
    rows: list[Row] = [
        DecisionRow(
            decision_id=record.decision_id,
            created_at_s=now_s,
            model_requested="auto",
            policy=policy,
            context=record.context,
            decision=record.decision,
            variant=record.variant,
            images=record.images,
        ),
        OutcomeRow(
            decision_id=record.decision_id,
            status=lost or "served",
            served_arm=None if lost else record.served_arm,
            latency_s=record.latency_s,
            cost_usd=0.0 if lost else record.cost_usd * record.images,
            completed_at_s=at_s,
            service_s=None if lost else record.latency_s,
            attempts=(Attempt(record.decision.arm, lost, record.latency_s),) if lost else (*tried, served),
        ),
    ]
    if not (lost or record.quality_is_default):
        rows.append(SignalRow(record.decision_id, SignalKind.QUALITY, "scorer", record.quality, at_s))
    return rows
