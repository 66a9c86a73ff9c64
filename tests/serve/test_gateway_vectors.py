"""A gateway with a sentence encoder: what policies see, what is kept, and what happens without a vector."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from serve.catalogue import parse_catalogue
from serve.catalogue_errors import CatalogueError
from serve.prompt_vectors import PromptVectors
from tests.serve.in_process_gateway import CATALOGUE, Setting

SCHEMA = "words-1+minilm-1"
WORDS = "policy: {name: uniform}"
VECTORS = f"policy: {{name: factored, options: {{features_schema: {SCHEMA}}}}}"


class ByLength:
    """128 numbers made of the prompt's length."""

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        if "bad" in prompts:
            raise RuntimeError("no vector of this")
        return np.array([[len(prompt) / 100] * 128 for prompt in prompts], dtype=np.float32)


@pytest.fixture
def encoding(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path, CATALOGUE.replace(WORDS, f"{VECTORS}\nencoder: {{}}"))
    made.deciders.in_use.live.features_schema = SCHEMA
    made.gateway._vectors = PromptVectors(ByLength())
    yield made
    made.close()


def kept(setting: Setting) -> list[tuple[str, list[float] | None]]:
    rows = setting.rows("SELECT features_schema, features FROM decisions ORDER BY created_at_s")
    return [(schema, json.loads(features).get("vector")) for schema, features in rows]


def test_a_policy_of_vectors_decides_and_the_journal_keeps_what_it_saw(encoding: Setting) -> None:
    body = encoding.generate(prompt="two cats").json()
    assert body["switchboard"]["policy"] == "factored"
    assert kept(encoding) == [(SCHEMA, [0.08] * 128)]


def test_a_policy_of_words_decides_beside_an_encoder_and_the_row_teaches_both(encoding: Setting) -> None:
    """A variant without an encoder can so be compared with one that has it."""
    words = {"name": "a", "policy": "factored", "options": {}, "weight": 1.0}
    rest = {"name": "b", "policy": "factored", "options": {"features_schema": SCHEMA}, "weight": 0.0}
    encoding.run_experiment(experiment_id="encoder", variants=[words, rest], unit="request")
    body = encoding.generate().json()
    assert body["switchboard"]["policy"] == "factored"
    assert encoding.rows("SELECT variant FROM decisions") == [("encoder:a",)]
    assert [schema for schema, _ in kept(encoding)] == [SCHEMA]


def test_a_shadow_of_words_decides_beside_a_policy_of_vectors(encoding: Setting) -> None:
    variants = [
        {"name": "a", "policy": "factored", "options": {"features_schema": SCHEMA}},
        {"name": "b", "policy": "linucb", "options": {}},
    ]
    encoding.run_experiment(experiment_id="shadow", kind="shadow", variants=variants)
    assert encoding.generate().json()["switchboard"]["policy"] == "factored"
    encoding.shadow_log.flush()
    assert encoding.rows("SELECT variant, policy FROM shadow_decisions") == [("shadow:b", "linucb")]
    assert not encoding.deciders.faults


def test_a_prompt_that_cannot_be_encoded_is_served_by_the_fallback(encoding: Setting) -> None:
    response = encoding.generate(prompt="bad")
    assert response.status_code == 200
    assert response.json()["switchboard"]["policy"] == "fallback:uniform"
    assert kept(encoding) == [("words-1", None)]


def test_without_an_encoder_no_vector_is_kept(setting: Setting) -> None:
    setting.generate()
    assert kept(setting) == [("words-1", None)]


def test_a_policy_of_vectors_without_an_encoder_is_refused_with_its_line() -> None:
    with pytest.raises(CatalogueError, match=r"test.yaml:4.*needs a sentence encoder: add encoder: \{\}"):
        parse_catalogue(CATALOGUE.replace(WORDS, VECTORS), "test.yaml")
    assert parse_catalogue(CATALOGUE.replace(WORDS, f"{VECTORS}\nencoder: {{}}"), "test.yaml").encoder is not None
