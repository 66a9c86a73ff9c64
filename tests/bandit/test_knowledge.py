from __future__ import annotations

from random import Random

import pytest

from bandit.errors import BadState
from bandit.knowledge import KEPT_AFTER_ALARM, LEAST_SAMPLES, Knowledge


def told(residuals: list[float], memory: float = 20_000.0) -> tuple[Knowledge, list[int]]:
    knowledge, alarms = Knowledge(memory), []
    for number, residual in enumerate(residuals):
        if knowledge.learn(("a", "b"), "a", residual):
            alarms.append(number)
    return knowledge, alarms


def noise(count: int, seed: int, shift: float = 0.0) -> list[float]:
    rng = Random(seed)
    return [rng.gauss(shift, 0.2) for _ in range(count)]


def test_spread_falls_with_samples_and_follows_the_residuals() -> None:
    knowledge, _ = told(noise(400, 0))
    assert knowledge.spread("a") == pytest.approx(0.2 / 401**0.5, rel=0.15)
    assert knowledge.spread("b") == pytest.approx(0.2, rel=0.15)
    assert knowledge.spread("new") == knowledge.spread("b")


def test_age_counts_decisions_in_which_the_arm_was_there() -> None:
    knowledge = Knowledge(100.0)
    for _ in range(150):
        knowledge.learn(("a", "b"), "a", 0.0)
    knowledge.learn(("a", "b", "late"), "a", 0.0)
    assert (knowledge.age("a"), knowledge.age("late"), knowledge.age("nobody")) == (100.0, 1.0, 0.0)


def test_a_fall_of_quality_is_found_within_a_hundred_images_and_makes_the_arm_unknown_again() -> None:
    knowledge, alarms = told(noise(500, 1) + noise(100, 2, shift=-0.3))
    assert len(alarms) >= 1
    assert 500 < alarms[0] < 560
    assert knowledge.alarms == {"a": len(alarms)}
    assert knowledge.age("a") < 100
    before, _ = told(noise(500, 1))
    assert knowledge.spread("a") > before.spread("a")


def test_no_alarm_without_a_fall_nor_on_a_rise_nor_before_the_arm_is_known() -> None:
    """Twenty runs of 5,000 images; ratings of 0 and 1 are as skewed as residuals get."""
    for seed in range(10):
        assert told(noise(5000, seed))[1] == []
        rng = Random(seed)
        assert told([(0.05 if rng.random() < 0.95 else -0.95) for _ in range(5000)])[1] == []
    assert told(noise(500, 3) + noise(500, 4, shift=0.3))[1] == []
    assert told([-0.5] * (LEAST_SAMPLES - 1))[1] == []


def test_samples_after_an_alarm_are_the_share_that_is_kept() -> None:
    knowledge, alarms = told(noise(500, 1) + [-1.0] * 100)
    samples = knowledge._arms["a"].samples
    assert samples < (alarms[-1] + 1) * KEPT_AFTER_ALARM + 100


def test_knowledge_reads_back_as_the_same_bytes() -> None:
    residuals = noise(300, 5) + noise(100, 6, shift=-0.4)
    whole, _ = told(residuals)
    half, _ = told(residuals[:350])
    again = Knowledge(20_000.0).read(half.state())
    for residual in residuals[350:]:
        again.learn(("a", "b"), "a", residual)
    assert again.state() == whole.state()


@pytest.mark.parametrize(
    "state",
    [b"", b"[]", b"[NaN, 1, {}]", b"[0.1, -1, {}]", b'[0.1, 1, {"a": [1, 2, 3]}]', b'[1, 1, {"a": [1, 2, -3, 0, 0]}]'],
)  # fmt: skip
def test_read_refuses_what_cannot_be(state: bytes) -> None:
    with pytest.raises(BadState):
        Knowledge(100.0).read(state)


def test_arms_of_unlike_noise_raise_no_alarm_by_it() -> None:
    """One s for all arms, that of the most drawn, made a rarely drawn noisy arm fall every 200 images."""
    rng, knowledge = Random(0), Knowledge(20_000.0)
    for _ in range(40_000):
        noisy = rng.random() < 0.05
        residual = rng.gauss(0.0, 0.2 if noisy else 0.05)
        knowledge.learn(("quiet", "noisy"), "noisy" if noisy else "quiet", residual)
    assert knowledge.alarms == {}
