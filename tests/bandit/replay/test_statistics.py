from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bandit.replay.statistics import Resampling, interval


def test_mean_over_what_was_counted_alone() -> None:
    values = np.full((2, 100), np.nan)
    values[0, :50], values[1, 50:] = 1.0, 3.0
    replicates = Resampling(2, 100).means(values)
    assert np.median(replicates) == pytest.approx(2, abs=0.1)
    alone = Resampling(1, 100).means(values[:1])
    assert (alone == 1.0).all()


def test_difference_of_two_that_move_together_is_narrow() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((3, 400))
    resampling = Resampling(3, 400)
    paired = interval(resampling.means(one + 0.01) - resampling.means(one))
    assert paired.low == pytest.approx(0.01, abs=1e-4)
    assert paired.high == pytest.approx(0.01, abs=1e-4)


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (5, 500))
    alike = interval(Resampling(5, 500).means(noise))
    apart = interval(Resampling(5, 500).means(noise + np.array([[-0.2], [-0.1], [0.0], [0.1], [0.2]])))
    assert apart.width > 5 * alike.width


def coverage(seeds: int, of_seeds: float, of_prompts: float, tables: int, prompts: int = 80) -> float:
    """Share of intervals that hold the truth 0, where prompts, seeds and each pair have effects of these deviations."""
    rng = np.random.default_rng(5)
    held = 0
    for number in range(tables):
        values = rng.normal(0, of_prompts, (1, prompts)) + rng.normal(0, of_seeds, (seeds, 1))
        values = values + rng.normal(0, 0.5, (seeds, prompts))
        held += 0.0 in interval(Resampling(seeds, prompts, seed=number, replicates=400).means(values))
    return held / tables


@pytest.mark.parametrize("seeds", [3, 8])
def test_interval_holds_the_mean_nineteen_times_in_twenty_where_seeds_matter_most(seeds: int) -> None:
    assert coverage(seeds, 1.0, 1.0, tables=200) >= 0.91


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize(
    "of_seeds",
    [lambda seeds: (seeds / 80) ** 0.5, lambda seeds: 1.0, lambda seeds: 0.02],
    ids=["alike", "seeds", "prompts"],
)
def test_interval_covers_about_its_level_from_three_seeds_on(seeds: int, of_seeds: Callable[[int], float]) -> None:
    """Alike: both factors add the same variance to the mean."""
    assert 0.925 <= coverage(seeds, of_seeds(seeds), 1.0, tables=600) <= 0.99


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_seeds_alone_give_students_interval(seeds: int) -> None:
    """Every prompt alike: the mean over seeds plus and minus t times its standard error."""
    means = np.random.default_rng(seeds).normal(0, 1, seeds)
    values = np.repeat(means[:, None], 50, axis=1)
    found = interval(Resampling(seeds, 50, replicates=200_000).means(values), level=0.8)
    quantile = {2: 3.078, 3: 1.886, 6: 1.476}[seeds]
    half = quantile * means.std(ddof=1) / seeds**0.5
    assert found.low == pytest.approx(means.mean() - half, abs=0.03 * half)
    assert found.high == pytest.approx(means.mean() + half, abs=0.03 * half)
