from __future__ import annotations

from typing import Any

from bandit.codec import record_to_json
from bandit.context import Context, Decision, Record
from bandit.features import extract
from bandit.fold import Fold
from bandit.policies import build
from bandit.simulation import ARMS


def row(position: int, schema: str) -> dict[str, Any]:
    vector = [0.01] * 128 if schema.endswith("minilm-1") else None
    context = Context(extract("two cats", schema, key=b"k", vector=vector), ARMS)
    probabilities = {arm.name: 1 / 3 for arm in ARMS}
    record = Record(str(position), context, Decision("gan@one", 1 / 3, probabilities), "gan@one", 0.02, 0.001, 0.9)
    return {
        "position": position, "decision_id": str(position), "closed_at_s": 0.0, "reason": "complete", "source": "",
        "record": record_to_json(record),
    }  # fmt: skip


def fold(schema: str) -> Fold:
    return Fold(lambda: build("factored", {"bits": 10, "features_schema": schema}), schema)


def test_a_policy_of_words_learns_from_rows_with_a_vector_too_and_the_same() -> None:
    plain, rich = fold("words-1"), fold("words-1")
    assert plain.learn([row(1, "words-1")]) == []
    assert rich.learn([row(1, "words-1+minilm-1")]) == []
    assert rich.policy.state() == plain.policy.state()


def test_a_policy_of_vectors_refuses_rows_without_one_and_says_so() -> None:
    (refusal,) = fold("words-1+minilm-1").learn([row(1, "words-1")])
    assert "its features are words-1" in refusal.reason
