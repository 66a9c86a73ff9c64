from __future__ import annotations

import json
import re
import subprocess
import sys
from math import isfinite
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.codec import features_to_json
from bandit.errors import BadVector, UnknownSchema
from bandit.features import DEFAULT_SCHEMA, MAX_TOKENS, SCHEMAS, as_schema, extract, needs_vector

NAME = re.compile(r"[a-z0-9_]+")

HOSTILE = [
    "",
    " \t\n",
    "\0",
    "\ud800 and \udfff",
    "|A 0:-100:0.01\n\nshared |p x:1",
    "hello:world |A x\r\n",
    "مرحبا بالعالم‏ and more",
    "🐱 above 🐶👨‍👩‍👧",
    "İẞŉ naïve Ünïcode ٣٤ ² ½ ﷺ",
    "h_000000000000 a_b",
    "9" * 10_000,
    "nan inf -inf 1e308",
    "a" * 1_000_000,
    "\ufdfa" * 1_000_000,
    " ".join(f"w{i}" for i in range(10_000)),
]


def check(prompt: str) -> None:
    features = extract(prompt)
    assert features.schema == "words-1"
    assert all(NAME.fullmatch(name) for name in (*features.numeric, *features.tokens))
    assert all(isfinite(value) and -1 <= value <= 1 for value in features.numeric.values())
    assert len(set(features.tokens)) == len(features.tokens) <= MAX_TOKENS
    assert all(len(token) <= 32 for token in features.tokens)


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_extract_lets_no_raw_text_out_of_hostile_prompts(prompt: str) -> None:
    check(prompt)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=300))
def test_extract_lets_no_raw_text_out_of_any_text(prompt: str) -> None:
    check(prompt)


@pytest.mark.parametrize(
    ("prompt", "on"),
    [
        ("a cat", {"plain"}),
        ("three cats", {"counted"}),
        ("2 cats", {"counted"}),
        ("one cat", {"plain"}),
        ("a cat and a dog", {"joined"}),
        ("a cat, a dog", {"joined"}),
        ("a cat to the left of a dog", {"relation"}),
        ("a cat on top of a car", {"relation"}),
        ("a cat next to a car", {"relation"}),
        ("a red cat", {"colour", "plain"}),
        ("a cat on a blue background", {"background", "colour"}),
        ("a street without cars", {"negation"}),
        ("don't draw cars", {"negation"}),
        ('a sign that reads "open"', {"lettering"}),
        ("an oil painting of a cat", {"style", "plain"}),
        ("A CAT ABOVE A DOG", {"relation"}),
    ],
)
def test_extract_flags_what_makes_a_prompt_hard(prompt: str, on: set[str]) -> None:
    flags = ("counted", "joined", "relation", "colour", "background", "negation", "lettering", "style", "plain")
    numeric = extract(prompt).numeric
    assert {name for name in flags if numeric[name]} == on


def test_extract_gives_every_prompt_the_same_names() -> None:
    assert list(extract("").numeric) == list(extract("three red cats above a dog").numeric)


def test_extract_counts_years_and_sizes_as_words_only() -> None:
    assert extract("a car of 1999, 1024x1024").numeric["counted"] == 0


def test_extract_keeps_tokens_once_in_order_of_first_appearance() -> None:
    assert extract("The red Cat, a red dog and a CAT").tokens == ("red", "cat", "dog", "and")


def test_extract_hashes_foreign_words_so_that_no_plain_word_can_pose_as_one() -> None:
    hashed = extract("猫").tokens[0]
    assert hashed.startswith("h_")
    assert hashed not in extract(f"a {hashed} here").tokens


def test_extract_reads_the_same_in_another_process() -> None:
    prompt = "naïve 🐱 above two дом"
    code = f"from bandit.features import extract; print(extract({prompt!r}).tokens)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == str(extract(prompt).tokens)


def test_extract_reads_only_the_beginning_of_long_text() -> None:
    assert extract("cat " * 2000 + "above").numeric["relation"] == 0


def test_extract_refuses_an_unknown_schema_and_lists_the_known() -> None:
    with pytest.raises(UnknownSchema, match="words-1"):
        extract("a cat", schema="words-9")


def test_extract_with_a_key_keeps_numbers_but_neither_words_nor_their_order() -> None:
    prompt = "a zebra above two Xylophones 猫"
    plain, keyed = extract(prompt), extract(prompt, key=b"salt")
    assert keyed.numeric == plain.numeric
    assert len(keyed.tokens) == len(plain.tokens)
    assert all(re.fullmatch("h_[0-9a-f]{12}", token) for token in keyed.tokens)
    assert list(keyed.tokens) == sorted(keyed.tokens)
    assert not set(keyed.tokens) & set(plain.tokens)


def test_extract_with_a_key_gives_the_same_word_the_same_name_under_that_key_only() -> None:
    cat = extract("a cat", key=b"salt").tokens
    assert set(cat) < set(extract("the dog and the CAT", key=b"salt").tokens)
    assert cat != extract("a cat", key=b"pepper").tokens
    assert extract("a cat", key=b"x" * 100).tokens != extract("a cat", key=b"x" * 101).tokens


def test_extract_refuses_an_empty_key() -> None:
    with pytest.raises(ValueError, match="empty"):
        extract("a cat", key=b"")


WITH_VECTOR = "words-1+minilm-1"
VECTOR = [0.1 + i / 1_000 for i in range(128)]


def test_the_default_schema_has_no_sentence_vector() -> None:
    """Nobody keeps what a prompt is about without having asked for it."""
    assert DEFAULT_SCHEMA == SCHEMAS[-1] == "words-1"  # [-1]: who chose by place must not get a vector by surprise
    assert not needs_vector(DEFAULT_SCHEMA)
    assert extract("a cat").schema == DEFAULT_SCHEMA
    assert extract("a cat").vector == ()


def test_extract_adds_the_vector_to_the_same_words() -> None:
    words, both = extract("a cat", key=b"salt"), extract("a cat", WITH_VECTOR, b"salt", VECTOR)
    assert needs_vector(WITH_VECTOR)
    assert (both.numeric, both.tokens) == (words.numeric, words.tokens)
    assert (both.schema, both.vector) == (WITH_VECTOR, tuple(round(value, 4) for value in VECTOR))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-2, 2, width=32), min_size=128, max_size=128))
def test_extract_rounds_a_vector_to_what_the_journal_reads_back(values: list[float]) -> None:
    given = np.array(values, dtype=np.float32)
    vector = extract("a cat", WITH_VECTOR, vector=given).vector
    assert vector == pytest.approx(values, abs=5.1e-5)
    assert vector == tuple(round(value, 4) for value in vector)
    assert all(type(value) is float for value in vector)
    text = json.dumps(features_to_json(extract("a cat", WITH_VECTOR, vector=given)))
    assert [value.hex() for value in json.loads(text)["vector"]] == [value.hex() for value in vector]
    assert "-0.0," not in text
    assert "-0.0]" not in text


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (None, "none was given"),
        ([], r"\[0\]"),
        (VECTOR[:127], r"\[127\]"),
        ([VECTOR], r"\[1, 128\]"),
        ([*VECTOR[:127], float("nan")], "finite"),
        ([*VECTOR[:127], float("-inf")], "finite"),
        ([*VECTOR[:127], "x"], "numbers"),
        ([*VECTOR[:127], None], "numbers|finite"),
    ],
)
def test_extract_refuses_a_vector_that_is_missing_or_cannot_be(vector: Any, said: str) -> None:
    with pytest.raises(BadVector, match=said):
        extract("a cat", WITH_VECTOR, vector=vector)


def test_extract_refuses_a_vector_where_the_schema_has_none() -> None:
    with pytest.raises(BadVector, match="words-1"):
        extract("a cat", vector=VECTOR)


def test_needs_vector_refuses_an_unknown_schema() -> None:
    with pytest.raises(UnknownSchema, match="words-1"):
        needs_vector("words-9")


def test_as_schema_leaves_the_vector_out_and_adds_none() -> None:
    rich = extract("two cats", "words-1+minilm-1", key=b"k", vector=[0.5] * 128)
    poor = extract("two cats", "words-1", key=b"k")
    assert as_schema(rich, "words-1") == poor
    assert as_schema(rich, "words-1+minilm-1") is rich
    assert as_schema(poor, "words-1") is poor
    assert as_schema(poor, "words-1+minilm-1") is None
    assert as_schema(rich, "words-2") is None
