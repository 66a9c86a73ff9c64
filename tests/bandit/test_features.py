from __future__ import annotations

import re
import subprocess
import sys
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandit.errors import UnknownSchema
from bandit.features import MAX_TOKENS, extract

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
