from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from bandit.errors import BadContext, BadState
from bandit.ridge import MEAN_COUNT, Ridge

NAMES = ("a", "b", "c")


def samples(count: int, seed: int = 0, dimension: int = 4) -> list[tuple[np.ndarray, str, tuple[float, float]]]:
    """Arms share one slope; b has one of its own beside it; the second target is twice the first plus one."""
    rng = np.random.default_rng(seed)
    shared, own = np.array([0.5, -0.3, 0.0, 0.0]), np.array([0.0, 0.0, 0.4, 0.0])
    answer = []
    for number in range(count):
        x = rng.normal(size=dimension)
        arm = NAMES[number % 3]
        y = {"a": 0.2, "b": 0.5, "c": 0.8}[arm] + x @ shared + (x @ own if arm == "b" else 0.0)
        answer.append((x, arm, (float(y), 2 * float(y) + 1)))
    return answer


def taught(count: int, **options: float) -> Ridge:
    ridge = Ridge((0.5, 1.0), **{"shared_penalty": 1e-3, "own_penalty": 1e-3, **options})
    for x, arm, y in samples(count):
        ridge.learn(x, arm, "kind", y)
    return ridge


def test_ridge_finds_what_arms_share_and_what_they_do_not() -> None:
    ridge = taught(3000)
    for x, arm, y in samples(30, seed=1):
        got = ridge.predict(x, [(arm, "kind")])[0]
        assert got == pytest.approx(y, abs=0.02)


def test_ridge_of_one_arm_equals_the_textbook_solution_on_centred_data() -> None:
    """With a hard penalty on what arms differ by, weights are plain ridge: (X'X + penalty)^-1 X'y, centred."""
    ridge = Ridge((0.0, 0.0), shared_penalty=2.0, own_penalty=1e9)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 3)) + 1.0, rng.normal(size=(200, 2))
    for row, targets in zip(x, y, strict=True):
        ridge.learn(row, "a", "kind", targets.tolist())
    ridge._solve_shared()  # not only when samples have grown by a tenth
    ridge._solve(0)
    centred = x - x.mean(axis=0)
    slope = np.linalg.solve(centred.T @ centred + 2.0 * np.eye(3), centred.T @ (y - y.mean(axis=0)))
    likes = y.sum(axis=0) / 201
    mean = (200 * y.mean(axis=0) + MEAN_COUNT * likes) / (200 + MEAN_COUNT)
    at = np.array([0.3, -1.0, 2.0])
    assert ridge.predict(at, [("a", "kind")])[0] == pytest.approx(mean + (at - x.mean(axis=0)) @ slope, abs=1e-6)


def test_what_an_arm_differs_by_shrinks_away_where_little_is_known() -> None:
    """Separate regressions took an arm of few samples for better on hard prompts, where the others look worse."""
    rng = np.random.default_rng(0)
    ridge = Ridge((0.5, 1.0), shared_penalty=5.0, own_penalty=30.0)
    for number in range(2000):
        x = rng.normal(size=3)
        arm = "rare" if number % 100 == 0 else "often"
        ridge.learn(x, arm, "kind", (0.5 + 0.2 * x[0] + rng.normal() * 0.2, 1.0))
    hard = np.array([-2.0, 0.0, 0.0])
    rare, often = ridge.predict(hard, [("rare", "kind"), ("often", "kind")])[:, 0]
    assert often == pytest.approx(0.1, abs=0.05)
    assert abs(rare - often) < 0.15


def test_an_arm_not_seen_is_expected_like_its_kind_and_else_like_all() -> None:
    ridge = Ridge((0.5, 1.0), shared_penalty=5.0, own_penalty=30.0)
    assert ridge.predict(np.zeros(2), [("new", "gan")]).tolist() == [[0.5, 1.0]]
    for _ in range(200):
        ridge.learn(np.zeros(2), "gan@one", "gan", (0.2, 1.0))
        ridge.learn(np.zeros(2), "flow@one", "flow", (0.8, 3.0))
    like_gan, like_all = ridge.predict(np.zeros(2), [("gan@two", "gan"), ("other", "unheard")])
    assert like_gan[0] == pytest.approx(0.2, abs=0.01)
    assert like_all == pytest.approx([0.5, 2.0], abs=0.01)


def test_ridge_forgets_by_its_factor() -> None:
    def after_a_change(keep: float) -> float:
        ridge = Ridge((0.5, 1.0), 5.0, 30.0, keep)
        for number in range(1200):
            ridge.learn(np.zeros(2), "a", "kind", (0.9 if number < 1000 else 0.1, 1.0))
        return float(ridge.predict(np.zeros(2), [("a", "kind")])[0, 0])

    assert after_a_change(1.0) > 0.7
    assert after_a_change(0.98) < 0.2


def test_forget_drops_an_arm_or_discounts_it() -> None:
    ridge = taught(300)
    ridge.forget("a")
    assert ridge.names == ["b", "c"]
    assert ridge.count("a") == 0.0
    before = ridge.count("b")
    ridge.forget("b", keep=0.1)
    assert ridge.count("b") == pytest.approx(0.1 * before)
    ridge.forget("nobody")
    for x, _, y in samples(50, seed=2):
        ridge.learn(x, "c", "kind", y)


@pytest.mark.parametrize("cut", [0, 1, 150, 299])
def test_ridge_goes_on_from_its_parts_with_the_same_bytes(cut: int) -> None:
    whole, half = taught(300, keep=0.99), Ridge((0.5, 1.0), 1e-3, 1e-3, 0.99)
    for number, (x, arm, y) in enumerate(samples(300)):
        if number == cut:
            half = Ridge((0.5, 1.0), 1e-3, 1e-3, 0.99).read(half.parts())
        half.learn(x, arm, "kind", y)
    assert half.parts() == whole.parts()


@pytest.mark.parametrize("damage", ["cut", "nan", "head", "twice", "dimension"])
def test_read_refuses_damaged_parts(damage: str) -> None:
    ridge = taught(30)
    parts = ridge.parts()
    if damage == "cut":
        parts["ridge_numbers"] = parts["ridge_numbers"][:-8]
    elif damage == "nan":
        parts["ridge_numbers"] = np.array([np.nan]).tobytes() + parts["ridge_numbers"][8:]
    elif damage == "head":
        parts["ridge_head"] = b"[]"
    elif damage == "twice":
        parts["ridge_head"] = parts["ridge_head"].replace(b'"a", "b"', b'"a", "a"')
    else:
        parts["ridge_head"] = parts["ridge_head"].replace(b'"dimension": 4', b'"dimension": 5')
    with pytest.raises(BadState):
        ridge.read(parts)


def test_parts_refuse_what_is_not_finite() -> None:
    ridge = taught(30)
    ridge._x[0, 0] = np.inf
    with pytest.raises(BadState, match="not finite"):
        ridge.parts()


def test_the_bytes_do_not_depend_on_the_threads_that_blas_may_use() -> None:
    """At 384 numbers a learner with two threads published other bytes than one with one."""

    def learned(threads: int) -> dict[str, bytes]:
        rng = np.random.default_rng(0)
        ridge = Ridge((0.5, 1.0), 5.0, 20.0)
        with threadpool_limits(threads, user_api="blas"):
            for number in range(60):
                ridge.learn(rng.normal(size=384), NAMES[number % 3], "kind", (rng.random(), 1.0))
        return ridge.parts()

    assert learned(1) == learned(2)


def test_a_vector_of_another_length_is_refused() -> None:
    ridge = taught(30)
    with pytest.raises(BadContext, match="5 numbers, others before 4"):
        ridge.learn(np.zeros(5), "a", "kind", (0.5, 1.0))
    with pytest.raises(BadContext):
        ridge.predict(np.zeros(5), [("a", "kind")])
