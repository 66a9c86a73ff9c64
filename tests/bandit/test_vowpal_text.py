from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.context import Weights
from bandit.features import extract
from bandit.simulation import ARMS
from bandit.vowpal_text import arm_text, kind_text, load_text, name_text, prompt_text, spell, weights_text

LINE = re.compile(r"(?:\|[ptwalk](?: [a-z0-9_]+(?::-?[0-9.]+(?:e[+-]?[0-9]+)?)?| )* ?)+")


@given(st.text(alphabet=st.characters(), max_size=200), st.text(alphabet=st.characters(), max_size=20))
def test_lines_hold_only_our_own_separators(prompt: str, name: str) -> None:
    line = prompt_text(extract(prompt)) + weights_text(Weights(1e9, 1e-9, 0.0)) + arm_text(name, name, name, name)
    line += name_text(name) + kind_text(name, name, 1e-9, 1e9)
    line += load_text(ARMS[0], latency_s=1e9, penalty=1e18)
    assert LINE.fullmatch(line)
    assert line.count("|") == 7


def test_spell_keeps_plain_names() -> None:
    assert spell("flow_2") == "flow_2"


@given(st.lists(st.text(alphabet=st.characters(), max_size=10), min_size=2, max_size=20, unique=True))
def test_spell_keeps_names_apart(names: list[str]) -> None:
    assert len({spell(name) for name in names}) == len(names)


@pytest.mark.parametrize("feature", ["counted", "relation"])
def test_prompt_text_leaves_zeros_out(feature: str) -> None:
    assert feature not in prompt_text(extract("a cat"))
    assert f"{feature}:1" in prompt_text(extract("two cats above a dog"))


def classes(price_usd: float, service_s: float) -> list[str]:
    words = kind_text("one", "gan", price_usd, service_s).split()
    return [word for word in words if word.startswith(("price_", "size_"))]


def test_kind_text_gives_like_prices_and_times_one_class() -> None:
    assert classes(0.001, 8.0) == classes(0.0011, 7.0)
    assert classes(0.0, 1e9) == ["price_none", "size_p30"]


def test_kind_text_tells_prices_and_times_apart() -> None:
    assert not set(classes(0.001, 8.0)) & set(classes(0.004, 1.0))


def test_kind_text_of_one_price_does_not_depend_on_the_arms_name() -> None:
    assert name_text("gan@one") != name_text("gan@two")
    assert "gan_one" not in kind_text("one", "gan", 0.001, 8.0)
