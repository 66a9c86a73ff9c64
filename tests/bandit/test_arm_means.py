from __future__ import annotations

import json
from random import Random
from statistics import mean

import pytest

from bandit import roster
from bandit.arm_means import ArmMeans
from bandit.context import Context
from bandit.errors import BadState
from bandit.features import extract
from bandit.simulation import ARMS

CONTEXT = Context(extract("a cat"), ARMS)


def test_a_mean_is_of_all_images_and_one_at_the_prior() -> None:
    rng = Random(0)
    qualities = [rng.random() for _ in range(500)]
    means = ArmMeans(0.0)
    for quality in qualities:
        means.learn(CONTEXT, ARMS[1], quality)
    assert means.estimate(CONTEXT)["diffusion@20"] == pytest.approx((mean([0.5, *qualities]), 0.0))
    assert means.estimate(CONTEXT)["gan@one"] == (0.5, 0.0)


def test_an_average_weighs_what_is_old_by_its_age() -> None:
    means = ArmMeans(0.25)
    for quality in (1.0,) * 3 + (0.0, 1.0):
        means.learn(CONTEXT, ARMS[0], quality)
    # 1/2, 1/3 and 1/4 of the first three are a plain mean with the prior; after that a quarter of each.
    expected = (1 - 0.125) * 0.75 * 0.75 + 0.25
    assert means.estimate(CONTEXT)["gan@one"][0] == pytest.approx(expected)


def test_nothing_is_learned_of_what_nobody_measured() -> None:
    means = ArmMeans(0.0)
    means.learn(CONTEXT, ARMS[0], None)
    assert means.estimate(CONTEXT)["gan@one"] == (0.5, 0.0)


def test_an_arm_unseen_for_long_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "FORGET_AFTER_RECORDS", 1500)
    means = ArmMeans(0.0)
    means.learn(CONTEXT, ARMS[0], 1.0)
    others = Context(CONTEXT.features, ARMS[1:])
    for _ in range(1000):
        means.learn(others, ARMS[1], 1.0)
    assert means.estimate(CONTEXT)["gan@one"][0] == 0.75
    for _ in range(1000):
        means.learn(others, ARMS[1], 1.0)
    assert means.estimate(CONTEXT)["gan@one"][0] == 0.5
    assert means.estimate(CONTEXT)["diffusion@20"][0] > 0.99


@pytest.mark.parametrize(
    "means",
    [b"", b"[]", b'{"a": [NaN, 1]}', b'{"a": [1.5, 1]}', b'{"a": [0.5, 0]}', b'{"a": [0.5]}', b'{"a": [1, 1]}'],
)
def test_read_refuses_what_no_mean_has_written(means: bytes) -> None:
    parts = ArmMeans(0.0).parts() | {"means": means}
    with pytest.raises(BadState):
        ArmMeans(0.0).read(parts)


def test_parts_are_json_with_sorted_names() -> None:
    means = ArmMeans(0.0)
    for arm in reversed(ARMS):
        means.learn(CONTEXT, arm, 0.5)
    assert list(json.loads(means.parts()["means"])) == sorted(arm.name for arm in ARMS)
