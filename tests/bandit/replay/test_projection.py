from __future__ import annotations

import numpy as np
import pytest

from bandit.replay.projection import Projection


def test_projected_vectors_are_centred_uncorrelated_and_of_unit_variance() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    projection = Projection.of(vectors, components=4)
    projected = np.array([projection(one.tolist()) for one in vectors])
    assert projected.shape == (500, 5)
    assert (projected[:, 4] == 1).all()
    assert projected[:, :4].mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert np.cov(projected[:, :4].T) == pytest.approx(np.eye(4), abs=0.02)


def test_strongest_directions_are_kept() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 3)) * [1, 5, 0.1]).astype(np.float32)
    axis = Projection.of(vectors, components=1).axes[:, 0]
    assert np.argmax(np.abs(axis)) == 1


def test_fewer_components_where_the_vectors_span_fewer() -> None:
    vectors = np.outer(np.arange(20.0), [1.0, 2.0, 3.0]).astype(np.float32)
    assert Projection.of(vectors).axes.shape == (3, 1)
