"""Estimates against known truths, against vw-estimators, and in the cases that everybody gets wrong."""

import numpy as np
import pytest

from bandit.evaluation.estimators import PerArm, logged_value, value_of_probabilities
from tests.bench.bench_coverage import LOGS, TARGETS, simulate, tally, valuation

RUNS = 60


def test_on_policy_gives_the_plain_mean_and_no_difference():
    run = simulate("learning", "best", 400, np.random.default_rng(0))
    arms = PerArm(run.arms.drawn, run.arms.logged, run.arms.logged, run.arms.predicted)
    propensity = arms.logged[run.at]
    answer = value_of_probabilities(propensity, propensity, run.reward, arms=arms)
    mean = pytest.approx(float(run.reward.mean()), abs=1e-12)
    assert answer.ips.value == answer.self_normalised.value == mean
    # Not the plain mean: it averages over the arms that the log could have drawn too.
    assert answer.doubly_robust.value == pytest.approx(float(run.reward.mean()), abs=0.02)
    for one in (answer.ips, answer.self_normalised, answer.doubly_robust):
        assert one.difference == pytest.approx(0.0, abs=1e-12)
        assert 0.0 in one.difference_interval
    assert logged_value(run.reward).value == mean
    assert answer.ips.interval == logged_value(run.reward).interval


def test_mean_of_the_rewards_is_biased_and_ips_is_not():
    """The log mostly draws the worst arm; what it earned says nothing of a policy that would not."""
    rng = np.random.default_rng(1)
    naive, ips, robust, truth = [], [], [], []
    for _ in range(RUNS):
        run = simulate("bad", "best", 1000, rng)
        answer = valuation(run, 1000)
        naive.append(run.reward.mean() - run.truth.mean())
        ips.append(answer.ips.value - run.truth.mean())
        robust.append(answer.doubly_robust.value - run.truth.mean())
        truth.append(run.truth.mean())

    def standard_error(errors):
        return np.std(errors, ddof=1) / np.sqrt(RUNS)

    assert abs(np.mean(naive)) > 10 * standard_error(naive)
    assert abs(np.mean(ips)) < 3 * standard_error(ips)
    assert abs(np.mean(robust)) < 3 * standard_error(robust)


def test_predictions_that_are_wrong_cost_width_and_not_truth():
    """Doubly robust: with logged propensities, nothing that a model says makes it biased."""
    rng = np.random.default_rng(2)
    wrong, right = [], []
    for _ in range(RUNS):
        run = simulate("even", "best", 600, rng)
        at = run.at
        for errors, predicted in ((wrong, 1.0 - run.arms.predicted), (right, run.arms.predicted)):
            arms = PerArm(run.arms.drawn, run.arms.logged, run.arms.target, predicted)
            answer = value_of_probabilities(arms.logged[at], arms.target[at], run.reward, arms=arms).doubly_robust
            assert run.truth.mean() in answer.interval
            errors.append(answer.value - run.truth.mean())
    assert abs(np.mean(wrong)) < 3 * np.std(wrong, ddof=1) / np.sqrt(RUNS)
    assert np.std(right) < 0.8 * np.std(wrong)


def test_intervals_narrow_with_rounds_and_with_predictions():
    run = simulate("even", "best", 4000, np.random.default_rng(3))
    short, long = valuation(run, 400), valuation(run, 4000)
    assert long.doubly_robust.interval.width < 0.5 * short.doubly_robust.interval.width
    assert long.doubly_robust.interval.width < long.ips.interval.width
    assert long.best is long.doubly_robust


def test_an_arm_that_the_log_never_draws_leaves_the_interval_true():
    """Rewards of the missing arm may be anything: the interval has to reach over all of it."""
    rng = np.random.default_rng(4)
    rounds = 3000
    drawn = rng.integers(2, size=rounds)
    logged = np.tile([0.5, 0.5, 0.0], (rounds, 1))
    target = np.tile([0.0, 0.5, 0.5], (rounds, 1))
    reward = (rng.random(rounds) < 0.6).astype(float)
    arms = PerArm(drawn, logged, target, np.full((rounds, 3), 0.6))
    at = np.arange(rounds), drawn
    answer = value_of_probabilities(logged[at], target[at], reward, arms=arms)
    for missing in (0.0, 0.5, 1.0):  # what the third arm may earn
        for one in (answer.ips, answer.self_normalised, answer.doubly_robust):
            assert 0.5 * 0.6 + 0.5 * missing in one.interval


def test_rewards_of_another_range_give_the_same_answer_in_that_range():
    run = simulate("even", "best", 500, np.random.default_rng(5))
    at, plain = run.at, valuation(run, 500)
    moved = PerArm(run.arms.drawn, run.arms.logged, run.arms.target, 4.0 * run.arms.predicted - 3.0)
    answer = value_of_probabilities(
        moved.logged[at], moved.target[at], 4.0 * run.reward - 3.0, low=-3.0, high=1.0, arms=moved
    )
    for one, other in zip(
        (answer.ips, answer.self_normalised, answer.doubly_robust),
        (plain.ips, plain.self_normalised, plain.doubly_robust),
        strict=True,
    ):
        assert one.value == pytest.approx(4.0 * other.value - 3.0)
        assert one.interval.low == pytest.approx(4.0 * other.interval.low - 3.0)
        assert one.interval.high == pytest.approx(4.0 * other.interval.high - 3.0)
        assert one.difference == pytest.approx(4.0 * other.difference)
        assert one.difference_interval.high == pytest.approx(4.0 * other.difference_interval.high)


def test_without_other_arms_there_is_no_doubly_robust_estimate():
    run = simulate("even", "best", 500, np.random.default_rng(6))
    answer = value_of_probabilities(run.arms.logged[run.at], run.arms.target[run.at], run.reward)
    assert answer.doubly_robust is None
    assert answer.best is answer.self_normalised
    assert answer.self_normalised.interval == answer.ips.interval
    assert answer.ips == valuation(run, 500).ips


def test_estimates_equal_those_of_vw_estimators():
    pytest.importorskip("estimators", reason="vw-estimators is not installed; it is only compared with")
    from estimators.bandits import cs, ips, snips

    for log in LOGS:
        run = simulate(log, "best", 1500, np.random.default_rng(7))
        theirs = cs.Interval(0, 1), ips.Estimator(), snips.Estimator()
        for propensity, target, reward in zip(
            run.arms.logged[run.at], run.arms.target[run.at], run.reward, strict=True
        ):
            for one in theirs:
                one.add_example(float(propensity), float(reward), float(target))
        ours = valuation(run, 1500)
        assert ours.ips.value == pytest.approx(theirs[1].get(), rel=1e-12)
        assert ours.self_normalised.value == pytest.approx(theirs[2].get(), rel=1e-12)
        low, high = theirs[0].get(0.05)
        assert ours.ips.interval.low == pytest.approx(low, abs=0.1)
        assert ours.ips.interval.high == pytest.approx(high, abs=0.1)
        assert 0.6 < ours.ips.interval.width / (high - low) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("target", TARGETS)
def test_intervals_miss_the_truth_in_at_most_alpha_of_the_runs(log: str, target: str):
    """1,000 runs of each are in tests/bench/bench_coverage.py; of 100 at a rate of 0.05, at most 10 in 99 of 100."""
    for name, one in tally(log, target, runs=100, rounds=2000, seed=8).items():
        assert max(one.missed, one.missed_stream) <= 10, name


def test_arrays_that_cannot_be_are_refused_with_what_is_allowed():
    good = {"propensity": np.full(3, 0.5), "target_probability": np.full(3, 0.5), "reward": np.full(3, 0.5)}
    for name, value, said in (
        ("propensity", 0.0, "a propensity is 0.0; allowed: above 0"),
        ("propensity", float("nan"), "a propensity is nan"),
        ("propensity", 1.5, "a propensity is 1.5"),
        ("target_probability", -0.1, "a target probability is -0.1; allowed: 0 to 1"),
        ("reward", 1.1, "a reward is 1.1; allowed: 0.0 to 1.0"),
        ("reward", float("inf"), "a reward is inf"),
    ):
        bad = dict(good) | {name: np.array([0.5, value, 0.5])}
        with pytest.raises(ValueError, match=said):
            value_of_probabilities(**bad)
    with pytest.raises(ValueError, match="one entry a round"):
        value_of_probabilities(**(good | {"reward": np.full(2, 0.5)}))
    with pytest.raises(ValueError, match="at least one"):
        value_of_probabilities(np.array([]), np.array([]), np.array([]))
    with pytest.raises(ValueError, match="low below high"):
        value_of_probabilities(**good, low=1.0, high=0.0)
    with pytest.raises(ValueError, match="alpha is 0"):
        value_of_probabilities(**good, alpha=0)


def test_tables_of_arms_that_cannot_be_are_refused():
    drawn, half = np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5)
    lists = np.full(3, 0.5), np.full(3, 0.5), np.full(3, 0.5)
    for arms, said in (
        (PerArm(drawn, half, half[:, :1]), r"\[rounds, arms\]"),
        (PerArm(drawn, half * 0.9, half), "logged probabilities of a round do not add up to 1"),
        (PerArm(drawn, half, half + np.array([0.1, -0.1])), "target probabilities of the drawn arms differ"),
        (PerArm(drawn, half, half, half * np.nan), "a predicted reward is not finite"),
    ):
        with pytest.raises(ValueError, match=said):
            value_of_probabilities(*lists, arms=arms)
