from __future__ import annotations

import numpy as np
import pytest

from bandit.evaluation.estimators import PerArm
from bandit.evaluation.support import doubts, refusals, support_of

NAMES = ("small", "large")


def test_effective_rounds_are_all_of_them_on_policy_and_few_where_few_carry_the_weight() -> None:
    assert support_of(np.ones(250)).effective_rounds == 250
    weights = np.array([50.0] * 2 + [0.0] * 98)
    support = support_of(weights)
    assert (support.effective_rounds, support.largest_weight, support.mean_weight) == (2.0, 50.0, 1.0)
    (reason,) = refusals(support, "candidate")
    assert "only 2 of 100 rounds speak for candidate (effective sample size; at least 100 are needed)" in reason
    assert refusals(support, "candidate", least_effective=2) == ()
    assert support_of(np.zeros(10)).effective_rounds == 0.0


def test_arms_that_the_log_never_tries_are_named_with_their_share() -> None:
    logged = np.tile([1.0, 0.0], (400, 1))
    target = np.tile([0.7, 0.3], (400, 1))
    arms = PerArm(np.zeros(400, dtype=np.int64), logged, target)
    support = support_of(np.full(400, 0.7), arms, NAMES)
    assert support.unsupported == pytest.approx(0.3)
    assert support.unsupported_arms == ("large",)
    (reason,) = refusals(support, "candidate")
    assert "candidate puts 30% of its draws on arms that the log never tries in such requests (large)" in reason


def test_a_little_without_support_is_a_doubt_and_no_refusal() -> None:
    logged, target = np.tile([0.5, 0.5], (400, 1)), np.tile([0.5, 0.5], (400, 1))
    logged[:2], target[:2] = [1.0, 0.0], [0.0, 1.0]
    support = support_of(np.ones(400), PerArm(np.zeros(400, dtype=np.int64), logged, target), NAMES)
    assert refusals(support, "candidate") == ()
    (doubt,) = doubts(np.ones(400), support, "candidate")
    assert doubt.startswith("0.50% of the draws of candidate are on arms that the log never tries")


def test_propensities_that_were_not_drawn_with_show_in_the_mean_weight() -> None:
    rng = np.random.default_rng(1)
    honest = np.where(rng.random(2000) < 0.5, 0.4, 1.6)
    assert doubts(honest, support_of(honest), "candidate") == ()
    wrong = np.where(rng.random(2000) < 0.7, 0.4, 1.6)
    (doubt,) = doubts(wrong, support_of(wrong), "candidate")
    assert "where it should be 1.000: the logged propensities are not those that arms were drawn with" in doubt
