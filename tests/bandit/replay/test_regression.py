from __future__ import annotations

import numpy as np
import pytest

from bandit.context import PromptFeatures
from bandit.features import extract
from bandit.replay.regression import BUCKETS, design, predict_unseen


def test_signal_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1000, 20))
    signal = 0.5 + 0.2 * inputs[:, 3] + rng.normal(0, 0.1, 1000)
    noise = rng.normal(0, 0.1, 1000)
    predicted = predict_unseen(inputs, np.stack([signal, noise], axis=1), None)
    assert np.corrcoef(predicted[:, 0], signal)[0, 1] > 0.85
    assert predicted[:, 1].std() < 0.03


def test_prediction_of_a_prompt_does_not_know_its_own_target() -> None:
    """With the rows themselves in the fit, one feature per row would tell every target exactly."""
    targets = np.random.default_rng(0).normal(size=(60, 1))
    predicted = predict_unseen(np.eye(60), targets, None)
    assert abs(np.corrcoef(predicted[:, 0], targets[:, 0])[0, 1]) < 0.5


def test_counted_part_is_predicted_from_the_first_part_alone() -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(100, 5)), rng.normal(size=(100, 2))
    first = np.arange(100) < 60
    before = predict_unseen(inputs, targets, first)[~first]
    targets[~first] = 9.0
    assert np.array_equal(predict_unseen(inputs, targets, first)[~first], before)


def test_weights_are_those_of_a_direct_solution() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(500, 4))
    targets = inputs @ np.array([[0.3], [-0.2], [0.1], [0.0]]) + 0.4
    predicted = predict_unseen(inputs, targets, np.arange(500) < 400)
    assert predicted == pytest.approx(targets, abs=1e-3)


def test_constant_feature_and_target_do_no_harm() -> None:
    predicted = predict_unseen(np.ones((40, 3)), np.full((40, 1), 0.7), None)
    assert predicted == pytest.approx(0.7)


def test_design_takes_the_vector_where_there_is_one_and_words_where_not() -> None:
    words = [extract("two cats"), extract("a red dog")]
    numbers = len(words[0].numeric)
    assert design(words).shape == (2, numbers + BUCKETS)
    assert design(words)[:, numbers:].sum() == 4  # two, cats; red, dog
    vectors = [PromptFeatures("words-1", one.numeric, one.tokens, (0.1, 0.2, 0.3)) for one in words]
    assert design(vectors).shape == (2, numbers + 3)
