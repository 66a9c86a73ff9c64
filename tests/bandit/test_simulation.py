from __future__ import annotations

from random import Random
from statistics import mean

import pytest

from bandit.features import extract
from bandit.fixed import FixedOptions, FixedPolicy
from bandit.simulation import CLASSES, MANY_CALLERS, MORE_ARMS, best_fixed, prompt, run
from bandit.uniform import UniformPolicy


def test_run_is_the_same_for_the_same_seed() -> None:
    assert run(UniformPolicy(), 50, seed=3) == run(UniformPolicy(), 50, seed=3)
    assert run(UniformPolicy(), 50, seed=3) != run(UniformPolicy(), 50, seed=4)


def test_run_reckons_the_baselines_as_they_earn() -> None:
    uniform = run(UniformPolicy(), 300, seed=1, arms=MORE_ARMS, callers=MANY_CALLERS)
    assert mean(one.expected for one in uniform) == pytest.approx(mean(one.uniform for one in uniform))
    for arm in MORE_ARMS:
        rounds = run(FixedPolicy(FixedOptions(arm.name)), 300, seed=1, arms=MORE_ARMS, callers=MANY_CALLERS)
        assert mean(one.expected for one in rounds) == pytest.approx(mean(one.arms[arm.name] for one in rounds))
        assert best_fixed(rounds) <= mean(one.oracle for one in rounds)
        assert mean(one.expected for one in rounds) <= best_fixed(rounds) + 1e-12


@pytest.mark.parametrize("kind", CLASSES)
def test_prompts_of_a_class_carry_its_mark(kind: str) -> None:
    mark = {"single": "plain", "count": "counted", "two": "joined"}.get(kind, kind)
    rng = Random(0)
    assert all(extract(prompt(kind, rng)).numeric[mark] == 1 for _ in range(50))
