from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from bandit import linear_arms, roster
from bandit.context import Context, PromptFeatures
from bandit.design_vector import design_vector
from bandit.errors import BadContext, BadState
from bandit.features import extract
from bandit.linear_arms import LinearArms
from bandit.simulation import ARMS, CLASSES, prompt

CONTEXT = Context(extract("two cats above a red car"), ARMS)
GAN = ARMS[0]


def contexts(count: int, seed: int = 0) -> list[Context]:
    rng = Random(seed)
    return [Context(extract(prompt(rng.choice(CLASSES), rng)), ARMS) for _ in range(count)]


def test_estimate_is_the_ridge_solution_with_its_width() -> None:
    model, seen, rng = LinearArms(2.0, 8), contexts(40), Random(1)
    qualities = [rng.random() for _ in seen]
    for context, quality in zip(seen, qualities, strict=True):
        model.learn(context, GAN, quality)
    rows = np.array([design_vector(context.features, 8) for context in seen])
    inverse = np.linalg.inv(2.0 * np.eye(rows.shape[1]) + rows.T @ rows)
    theta = inverse @ rows.T @ (np.array(qualities) - 0.5)
    x = design_vector(CONTEXT.features, 8)
    assert model.estimate(CONTEXT)["gan@one"] == pytest.approx((0.5 + x @ theta, np.sqrt(x @ inverse @ x)))


def test_an_arm_never_seen_is_expected_in_the_middle_and_doubted_most() -> None:
    model = LinearArms(4.0, 8)
    x = design_vector(CONTEXT.features, 8)
    fresh = (0.5, pytest.approx(float(np.linalg.norm(x)) / 2))
    assert model.estimate(CONTEXT)["flow@full"] == fresh
    for _ in range(30):
        model.learn(CONTEXT, GAN, 1.0)
    known = model.estimate(CONTEXT)
    assert known["flow@full"] == fresh
    assert known["gan@one"][0] > 0.9
    assert known["gan@one"][1] < 0.2


@pytest.mark.parametrize("resolve_every", [2048, 10**9])
def test_sherman_morrison_stays_with_the_direct_solution(monkeypatch: pytest.MonkeyPatch, resolve_every: int) -> None:
    """20,000 images of one arm; also where nothing is ever solved anew, as rounding errors grow slowly."""
    monkeypatch.setattr(linear_arms, "RESOLVE_EVERY", resolve_every)
    model, rng = LinearArms(1.0, 16), Random(3)
    pool = contexts(400)
    rows = np.array([design_vector(context.features, 16) for context in pool])
    times, sums = np.zeros(len(pool)), np.zeros(len(pool))
    for _ in range(20_000):
        index, quality = rng.randrange(len(pool)), rng.random()
        model.learn(pool[index], GAN, quality)
        times[index] += 1
        sums[index] += quality - 0.5
    gram = np.eye(rows.shape[1]) + (rows.T * times) @ rows
    theta = np.linalg.solve(gram, rows.T @ sums)
    exact = rows @ theta + 0.5, np.sqrt(np.einsum("ij,ij->i", rows, np.linalg.solve(gram, rows.T).T))
    estimates = np.array([model.estimate(context)["gan@one"] for context in pool]).T
    assert np.abs(estimates - exact).max() < (1e-11 if resolve_every == 2048 else 1e-9)


def test_what_is_solved_anew_is_what_a_cut_fold_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_arms, "RESOLVE_EVERY", 16)
    whole, first = LinearArms(1.0, 8), LinearArms(1.0, 8)
    folded = contexts(40)
    for context in folded:
        whole.learn(context, GAN, 0.25)
    for context in folded[:25]:
        first.learn(context, GAN, 0.25)
    resumed = LinearArms(1.0, 8).read(first.parts())
    for context in folded[25:]:
        resumed.learn(context, GAN, 0.25)
    assert resumed.parts() == whole.parts()


def test_features_of_another_length_are_refused_and_change_nothing() -> None:
    model = LinearArms(1.0, 8)
    model.learn(CONTEXT, GAN, 0.75)
    before = model.parts()
    longer = replace(CONTEXT, features=replace(CONTEXT.features, vector=(0.5,) * 3))
    with pytest.raises(BadContext, match="others before"):
        model.learn(longer, ARMS[1], 0.75)
    with pytest.raises(BadContext, match="others before"):
        model.estimate(longer)
    assert model.parts() == before


def test_a_vector_too_long_to_learn_from_is_refused() -> None:
    features = PromptFeatures("words-1", {}, (), (0.1,) * 3000)
    with pytest.raises(BadContext, match="2048 at most"):
        LinearArms(1.0, 8).estimate(replace(CONTEXT, features=features))


def test_a_sentence_vector_is_learned_from() -> None:
    model = LinearArms(0.1, 4)
    plain = PromptFeatures("words-1", {}, ())
    for number in range(40):
        side = number % 2
        features = replace(plain, vector=(float(side), 1.0 - side))
        model.learn(replace(CONTEXT, features=features), GAN, 0.2 + 0.6 * side)
    asked = [
        model.estimate(replace(CONTEXT, features=replace(plain, vector=vector)))["gan@one"][0]
        for vector in ((1.0, 0.0), (0.0, 1.0))
    ]
    assert asked == pytest.approx([0.8, 0.2], abs=0.02)


def test_an_arm_unseen_for_long_is_dropped_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "FORGET_AFTER_RECORDS", 1500)
    model = LinearArms(1.0, 4)
    for arm in ARMS:
        model.learn(CONTEXT, arm, 0.9)
    others = Context(CONTEXT.features, (ARMS[0], ARMS[2]))
    for _ in range(2000):
        model.learn(others, ARMS[0], None)
    assert json.loads(model.parts()["head"])["names"] == ["gan@one", "flow@full"]
    estimates = model.estimate(CONTEXT)
    assert estimates["gan@one"] == estimates["flow@full"] != estimates["diffusion@20"]
    assert LinearArms(1.0, 4).read(model.parts()).parts() == model.parts()


def changed(**head: object) -> dict[str, bytes]:
    model = LinearArms(1.0, 2)
    model.learn(CONTEXT, GAN, 0.75)
    parts = model.parts()
    return parts | {"head": json.dumps(json.loads(parts["head"]) | head).encode()}


def twice() -> dict[str, bytes]:
    """Two arms whose bytes are all there, under one name."""
    model = LinearArms(1.0, 2)
    for arm in ARMS[:2]:
        model.learn(CONTEXT, arm, 0.75)
    parts = model.parts()
    head = json.loads(parts["head"]) | {"names": ["gan@one", "gan@one"]}
    return parts | {"head": json.dumps(head).encode()}


@pytest.mark.parametrize(
    "parts",
    [
        changed(dimension=3),
        changed(dimension=-1),
        changed(dimension=4096),
        changed(dimension="20"),
        twice(),
        changed(names=[1]),
        changed(images=[0]),
        changed(images=[]),
        changed(names=7),
        changed() | {"head": b"{}"},
        changed() | {"head": b"[" * 10_000},
        changed() | {"numbers": changed()["numbers"][:-8]},
    ],
    ids=range(12),
)
def test_read_refuses_what_does_not_fit_together(parts: dict[str, bytes]) -> None:
    with pytest.raises(BadState):
        LinearArms(1.0, 2).read(parts)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_neither_read_nor_written(value: float) -> None:
    parts = changed()
    numbers = np.frombuffer(parts["numbers"], "<f8").copy()
    numbers[-1] = value
    with pytest.raises(BadState, match="not finite"):
        LinearArms(1.0, 2).read(parts | {"numbers": numbers.tobytes()})
    model = LinearArms(1.0, 2).read(parts)
    model._theta[0, 0] = value
    with pytest.raises(BadState, match="not finite"):
        model.parts()


def test_read_refuses_a_matrix_that_no_data_makes() -> None:
    parts = changed()
    numbers = np.frombuffer(parts["numbers"], "<f8").copy()
    numbers[0] = -1.0
    with pytest.raises(BadState, match="positive definite"):
        LinearArms(1.0, 2).read(parts | {"numbers": numbers.tobytes()})
