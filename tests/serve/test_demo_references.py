from dataclasses import replace

import numpy as np
import pytest

from serve.demo_references import Measured, compare, measured, paired_bootstrap

TWO_ARMS = Measured(
    numbers=(0, 1, 2, 3),
    router=np.array([1.0, 0.0, 1.0, 0.5]),
    chosen=("a", "b", "a", "b"),
    arms={"a": np.array([1.0, 1.0, 0.0, 0.0]), "b": np.array([0.5, 0.25, 0.5, 0.5])},
    left_out=0,
)


def test_references_of_two_arms_by_hand() -> None:
    assert TWO_ARMS.uniform().tolist() == [0.75, 0.625, 0.25, 0.25]
    assert TWO_ARMS.oracle().tolist() == [1.0, 1.0, 0.5, 0.5]
    assert TWO_ARMS.replayed().tolist() == [1.0, 0.25, 0.0, 0.5]
    found = compare(TWO_ARMS, seed=0, resamples=200)
    assert found.best_fixed == "a"
    means = {name: interval.mean for name, interval in found.utility.items()}
    assert means == {"router": 0.625, "uniform": 0.46875, "oracle": 0.75, "replayed": 0.4375, "a": 0.5, "b": 0.4375}
    assert found.router_minus["oracle"].mean == -0.125
    assert found.router_minus["a"].mean == 0.125
    assert "router" not in found.router_minus


def test_bootstrap_interval_of_a_normal_mean_is_about_its_standard_error() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, size=(1, 400))
    (interval,) = paired_bootstrap(values, seed=0)
    standard_error = values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.1 * standard_error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.1 * standard_error)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0.0, 1.0, size=(400, 80))  # 400 runs; one bootstrap a line, of the same resampled prompts
    intervals = paired_bootstrap(samples, seed=2, resamples=1000)
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.9 <= covered <= 0.98


def test_bootstrap_is_paired_and_repeats_with_its_seed() -> None:
    hard_and_easy = np.random.default_rng(0).normal(0.0, 10.0, size=100)
    lines = np.stack([hard_and_easy, hard_and_easy + 0.1])
    (_, _, difference) = paired_bootstrap(np.stack([*lines, lines[1] - lines[0]]), seed=0, resamples=500)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
    assert difference.sign == 1
    assert paired_bootstrap(lines, 9, 300) == paired_bootstrap(lines, 9, 300)
    assert paired_bootstrap(lines, 9, 300) != paired_bootstrap(lines, 8, 300)


def test_measured_takes_only_prompts_with_every_arm_and_every_quality(demo_rows, demo_arms) -> None:
    rows = demo_rows(60, 20)
    complete = measured(rows, demo_arms)
    assert complete.numbers == tuple(range(40, 60))
    assert complete.left_out == 0
    router = {row.number: row for row in rows if row.by_router}
    assert complete.router.tolist() == [router[number].utility for number in complete.numbers]
    assert complete.replayed().tolist() == pytest.approx(complete.router.tolist())  # the fixture measures an arm once

    broken = [replace(row, utility=None) if row.number == 45 and row.model == demo_arms[2] else row for row in rows]
    broken = [row for row in broken if not (row.number == 50 and row.by_router)]
    broken = [row for row in broken if not (row.number == 55 and row.model == demo_arms[0])]
    some = measured(broken, demo_arms)
    assert set(complete.numbers) - set(some.numbers) == {45, 50, 55}
    assert some.left_out == 3


def test_compare_refuses_nothing(demo_rows, demo_arms) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        compare(measured(demo_rows(30, 0), demo_arms), seed=0)


def test_compare_of_one_prompt_gives_a_point(demo_rows, demo_arms) -> None:
    found = compare(measured(demo_rows(30, 1), demo_arms), seed=0)
    interval = found.utility["router"]
    assert interval.low == pytest.approx(interval.mean) == pytest.approx(interval.high)
