from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.context import Weights
from bandit.features import extract
from bandit.simulation import ARMS
from bandit.vowpal_text import arm_text, load_text, prompt_text, spell, weights_text

LINE = re.compile(r"(?:\|[ptwal](?: [a-z0-9_]+(?::-?[0-9.]+(?:e[+-]?[0-9]+)?)?| )* ?)+")


@given(st.text(alphabet=st.characters(), max_size=200), st.text(alphabet=st.characters(), max_size=20))
def test_lines_hold_only_our_own_separators(prompt: str, name: str) -> None:
    line = prompt_text(extract(prompt)) + weights_text(Weights(1e9, 1e-9, 0.0)) + arm_text(name, name, name, name)
    line += load_text(ARMS[0], latency_s=1e9, penalty=1e18)
    assert LINE.fullmatch(line)
    assert line.count("|") == 5


def test_spell_keeps_plain_names() -> None:
    assert spell("flow_2") == "flow_2"


@given(st.lists(st.text(alphabet=st.characters(), max_size=10), min_size=2, max_size=20, unique=True))
def test_spell_keeps_names_apart(names: list[str]) -> None:
    assert len({spell(name) for name in names}) == len(names)


@pytest.mark.parametrize("feature", ["counted", "relation"])
def test_prompt_text_leaves_zeros_out(feature: str) -> None:
    assert feature not in prompt_text(extract("a cat"))
    assert f"{feature}:1" in prompt_text(extract("two cats above a dog"))
