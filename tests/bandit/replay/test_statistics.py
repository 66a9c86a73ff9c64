from __future__ import annotations

import numpy as np
import pytest

from bandit.replay.statistics import Resampling, interval


def test_mean_over_what_was_counted_alone() -> None:
    values = np.full((2, 100), np.nan)
    values[0, :50], values[1, 50:] = 1.0, 3.0
    replicates = Resampling(2, 100).means(values)
    assert replicates.min() >= 1
    assert replicates.max() <= 3
    assert replicates.mean() == pytest.approx(2, abs=0.1)


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


def test_interval_holds_the_mean_nineteen_times_in_twenty() -> None:
    """Prompts and seeds with effects of their own, as the replay has them; truth 0."""
    rng = np.random.default_rng(1)
    held = 0
    for number in range(200):
        values = rng.normal(0, 1, (1, 80)) + rng.normal(0, 0.2, (8, 1)) + rng.normal(0, 1, (8, 80))
        held += 0.0 in interval(Resampling(8, 80, seed=number, replicates=300).means(values))
    assert held >= 180
