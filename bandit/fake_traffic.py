"""Made-up requests for tests, benchmarks and demonstrations: the same number and seed give the same rows everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .context import ArmContext, Context, Decision, Prediction, PromptFeatures, Weights
from .rows import Attempt, DecisionRow, OutcomeRow, SignalRow
from .signals import SignalKind
from .votes import vote_source

ARMS = (
    ArmContext("gan@standard", "gan", "standard", "gan", price_usd=0.0001, service_s=0.02),
    ArmContext("diffusion@8", "diffusion", "8", "diffusion", price_usd=0.001, service_s=0.2),
    ArmContext("flow@draft", "flow", "draft", "flow", price_usd=0.004, service_s=0.9),
)
_SUBJECTS = ("cat", "dog", "apple", "rocket", "house", "tree", "car", "star")
_COLOURS = ("red", "green", "blue", "yellow")


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """One request's rows. `quality` is None where the scorer stays silent, `rating` where the user does.

    `late_rating` is to be sent after the join of the outcome was closed, by `quality` or otherwise. It is the caller's
    where `rating` is None, else another user's, which is kept and not learned.
    """

    decision: DecisionRow
    outcome: OutcomeRow
    quality: SignalRow | None
    rating: SignalRow | None
    late_rating: SignalRow | None


def fake_request(number: int, *, seed: int = 0, now_s: float = 1_700_000_000.0) -> FakeRequest:
    """Request `number`, at `now_s` Unix time. Some are never scored, some fail, some fall back to another arm."""
    rng = Random(f"{seed}-{number}")
    composed = rng.random() < 0.5
    words = [rng.choice(_COLOURS), rng.choice(_SUBJECTS)]
    if composed:
        words += ["beside", rng.choice(_SUBJECTS)]
    features = PromptFeatures(
        schema="words-1",
        numeric={"length": len(words) / 8, "composed": float(composed)},
        tokens=tuple(dict.fromkeys(words)),
    )
    shares = [0.05 + rng.random() for _ in ARMS]
    probabilities = {arm.name: share / sum(shares) for arm, share in zip(ARMS, shares, strict=True)}
    chosen = rng.choices(ARMS, weights=shares)[0]
    decision_id = f"d-{seed}-{number:08d}"
    caller = f"caller-{rng.randrange(20)}"
    decision = DecisionRow(
        decision_id=decision_id,
        created_at_s=now_s,
        model_requested="auto",
        policy="fake",
        variant="a",
        context=Context(features, ARMS, Weights(quality=1.0, latency_per_s=0.1, cost_per_usd=20.0)),
        decision=Decision(
            chosen.name,
            probabilities[chosen.name],
            probabilities,
            {arm.name: Prediction(0.5, arm.service_s, arm.price_usd, 0.4) for arm in ARMS},
        ),
        caller_hash=caller,
        seed=rng.getrandbits(31),
    )
    served = ARMS[0] if rng.random() < 0.03 else chosen
    failed = rng.random() < 0.03
    latency_s = served.service_s * (1 + rng.random())
    outcome = OutcomeRow(
        decision_id=decision_id,
        status="failed" if failed else "served",
        served_arm=None if failed else served.name,
        latency_s=latency_s,
        cost_usd=0.0 if failed else served.price_usd,
        completed_at_s=now_s + latency_s,
        service_s=None if failed else latency_s,
        replica_id=f"{served.tier}#0",
        attempts=(Attempt(chosen.name, None if served is chosen and not failed else "ReplicaDied", latency_s),),
    )
    skill = {"gan": 0.3, "diffusion": 0.6, "flow": 0.8}[served.tier] if composed else 0.8
    drawn = min(1.0, max(0.0, rng.gauss(skill, 0.1)))
    scored, rated = rng.random() < 0.95, rng.random() < 0.1
    received_at_s = outcome.completed_at_s + 0.1
    votes, vote = rng.random() < 0.2, round(min(1.0, max(0.0, rng.gauss(skill, 0.3))), 2)
    source = vote_source(caller)
    late_source = vote_source("somebody-else") if rated else source
    return FakeRequest(
        decision=decision,
        outcome=outcome,
        quality=SignalRow(decision_id, SignalKind.QUALITY, "scorer-1", drawn, received_at_s) if scored else None,
        rating=SignalRow(decision_id, SignalKind.RATING, source, round(drawn), received_at_s) if rated else None,
        late_rating=SignalRow(decision_id, SignalKind.RATING, late_source, vote, received_at_s + 1) if votes else None,
    )
