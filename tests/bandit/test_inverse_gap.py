from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.inverse_gap import inverse_gap_weighting


def test_weights_follow_the_formula() -> None:
    assert inverse_gap_weighting({"a": 0.5, "b": 0.3, "c": 0.1}, gamma=10) == pytest.approx(
        {"a": 1 - 1 / 5 - 1 / 7, "b": 1 / 5, "c": 1 / 7}
    )


def test_weights_are_uniform_without_gamma_and_greedy_with_much() -> None:
    assert inverse_gap_weighting({"a": 0.5, "b": 0.3}, gamma=0) == {"a": 0.5, "b": 0.5}
    assert inverse_gap_weighting({"a": 0.5, "b": 0.3}, gamma=1e9)["a"] > 0.999


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=16), st.floats(0, 1e9))
def test_weights_are_a_distribution_and_the_best_arm_has_most(utilities: dict[str, float], gamma: float) -> None:
    weights = inverse_gap_weighting(utilities, gamma)
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weight > 0 for weight in weights.values())
    best = max(utilities, key=lambda arm: utilities[arm])
    assert weights[best] >= max(weights.values()) - 1e-9
