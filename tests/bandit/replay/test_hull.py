from __future__ import annotations

import numpy as np
import pytest

from bandit.replay.hull import hull_at

COSTS, QUALITIES = [1.0, 3.0, 2.0, 5.0], [0.2, 0.8, 0.4, 0.6]  # (2, 0.4) lies below the line, (5, 0.6) is dominated


@pytest.mark.parametrize(
    ("cost", "quality"),
    [
        (1.0, 0.2),
        (2.0, 0.5),  # half of each of the arms at 1 and 3; not the arm at 2 itself
        (2.5, 0.65),
        (3.0, 0.8),
        (4.0, 0.8),  # nothing dearer is better
        (9.0, 0.8),
        (0.5, 0.2),  # nothing is cheaper
    ],
)
def test_hull_is_the_best_mix_of_fixed_arms(cost: float, quality: float) -> None:
    assert hull_at(COSTS, QUALITIES, cost) == pytest.approx(quality)


def test_hull_of_many_tables_at_once_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    costs, qualities, at = rng.random((50, 4)), rng.random((50, 4)), rng.random(50)
    alone = [float(hull_at(c, q, a)) for c, q, a in zip(costs, qualities, at, strict=True)]
    assert hull_at(costs, qualities, at) == pytest.approx(alone)


def test_no_mix_of_arms_lies_above_the_hull() -> None:
    rng = np.random.default_rng(1)
    costs, qualities = rng.random(5), rng.random(5)
    for shares in rng.dirichlet(np.full(5, 0.3), size=500):
        assert shares @ qualities <= hull_at(costs, qualities, shares @ costs) + 1e-12


def test_arms_of_equal_cost_give_the_better_one() -> None:
    assert hull_at([1.0, 1.0], [0.3, 0.7], 1.0) == pytest.approx(0.7)
