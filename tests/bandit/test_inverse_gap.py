from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.inverse_gap import inverse_gap_rows, inverse_gap_weighting


def weights_of(utilities: dict[str, float], gamma: float) -> dict[str, float]:
    return inverse_gap_weighting(utilities, dict.fromkeys(utilities, gamma))


def test_weights_follow_the_formula() -> None:
    assert weights_of({"a": 0.5, "b": 0.3, "c": 0.1}, gamma=10) == pytest.approx(
        {"a": 1 - 1 / 5 - 1 / 7, "b": 1 / 5, "c": 1 / 7}
    )


def test_weights_are_uniform_without_gamma_and_greedy_with_much() -> None:
    assert weights_of({"a": 0.5, "b": 0.3}, gamma=0) == {"a": 0.5, "b": 0.5}
    assert weights_of({"a": 0.5, "b": 0.3}, gamma=1e9)["a"] > 0.999


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=16), st.floats(0, 1e9))
def test_weights_are_a_distribution_and_the_best_arm_has_most(utilities: dict[str, float], gamma: float) -> None:
    weights = weights_of(utilities, gamma)
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weight > 0 for weight in weights.values())
    best = max(utilities, key=lambda arm: utilities[arm])
    assert weights[best] >= max(weights.values()) - 1e-9


def test_an_arm_with_a_smaller_gamma_is_explored_more() -> None:
    weights = inverse_gap_weighting({"a": 0.5, "old": 0.3, "new": 0.3}, {"a": 100.0, "old": 100.0, "new": 1.0})
    assert weights == pytest.approx({"a": 1 - 1 / 23 - 1 / 3.2, "old": 1 / 23, "new": 1 / 3.2})


def test_rows_are_the_same_for_many_decisions_at_once() -> None:
    absent = float("-inf")
    rows = np.array([[0.5, 0.3, 0.1], [0.2, absent, 0.9], [absent, 0.4, absent]])
    gammas = {"a": 10.0, "b": 20.0, "c": 0.0}
    for row, got in zip(rows, inverse_gap_rows(rows, np.array(list(gammas.values()))), strict=True):
        there = {name: value for name, value in zip("abc", row.tolist(), strict=True) if value > absent}
        wanted = inverse_gap_weighting(there, gammas)
        assert got == pytest.approx([wanted.get(name, 0.0) for name in "abc"])
