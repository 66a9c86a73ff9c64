from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bandit.context import PromptFeatures
from bandit.design_vector import design_vector, numeric_slots
from bandit.features import extract

NUMBERS = 1 + len(numeric_slots())


def test_design_vector_holds_a_constant_and_every_number_at_its_place() -> None:
    features = extract("two cats above a red car")
    x = design_vector(features, 8)
    assert x.shape == (NUMBERS + 8,)
    assert x[0] == 1.0
    assert list(numeric_slots()) == sorted(features.numeric), "a place must not depend on the order of extraction"
    assert {name: x[slot] for name, slot in numeric_slots().items()} == features.numeric


def test_design_vector_keeps_its_places_when_numbers_are_left_out() -> None:
    x = design_vector(PromptFeatures("words-1", {"words": 0.25}, ()), 8)
    assert x[numeric_slots()["words"]] == 0.25
    assert np.count_nonzero(x) == 2


def test_design_vector_hashes_words_to_the_same_signed_buckets_everywhere() -> None:
    """The buckets are in what was learned: another hash would be another model."""
    x = design_vector(PromptFeatures("words-1", {}, ("cat", "dog")), 64)
    share = 2**-0.5
    assert {int(slot) - NUMBERS: float(x[slot]) for slot in np.flatnonzero(x)[1:]} == pytest.approx(
        {20: -share, 62: share}
    )


def test_design_vector_gives_long_prompts_no_more_weight_than_short_ones() -> None:
    for prompt in ("cat", "cat dog car tree house", " ".join(f"word{i}" for i in range(60))):
        block = design_vector(replace(extract(prompt), numeric={}), 1024)[NUMBERS:]
        assert np.linalg.norm(block) == pytest.approx(1.0, abs=0.3)


def test_design_vector_takes_unknown_numbers_as_words() -> None:
    x = design_vector(PromptFeatures("words-1", {"composed": 0.5}, ()), 16)
    assert x[NUMBERS:].tolist().count(0.5) == 1


def test_design_vector_ends_in_the_encoders_vector() -> None:
    x = design_vector(PromptFeatures("words-1", {}, (), (0.5, -0.25)), 4)
    assert x[-2:].tolist() == [0.5, -0.25]
    assert len(x) == NUMBERS + 4 + 2
