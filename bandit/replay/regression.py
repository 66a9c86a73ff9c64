"""Ridge regression with every reward revealed: what there is to win with these features, and no bandit can know.

Closed form on standardised features; the penalty is chosen per target by generalised cross-validation (Golub, Heath,
Wahba 1979, equation 1.4). Predictions are made for prompts that the fit did not see: of the counted part from the part
that comes first where the table has one, else across five folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from bandit.context import PromptFeatures

from .table import Floats, Rows

FOLDS = 5
BUCKETS = 512  # of hashed words, where there is no sentence vector
PENALTIES = tuple(10.0**power for power in np.arange(-1, 6.5, 0.5))


def design(features: Sequence[PromptFeatures]) -> Floats:
    """[N, D]: the numbers and the sentence vector, or, without one, the words hashed into buckets."""
    names = sorted(features[0].numeric)
    numbers = np.array([[one.numeric[name] for name in names] for one in features])
    if features[0].vector:
        return np.hstack([numbers, np.array([one.vector for one in features])])
    words = np.zeros((len(features), BUCKETS))
    for row, one in enumerate(features):
        for token in one.tokens:
            words[row, int.from_bytes(blake2b(token.encode(), digest_size=4).digest()) % BUCKETS] = 1.0
    return np.hstack([numbers, words])


def predict_unseen(inputs: Floats, targets: Floats, first: Rows | None, seed: int = 0) -> Floats:
    """Predictions [N, K] of targets [N, K]; rows in `first` are predicted by a fit that knows them."""
    if first is not None:
        return _fit_and_predict(inputs[first], targets[first], inputs)
    answer = np.empty_like(targets)
    fold = np.random.default_rng(seed).permutation(len(inputs)) % FOLDS
    for number in range(FOLDS):
        held = fold == number
        answer[held] = _fit_and_predict(inputs[~held], targets[~held], inputs[held])
    return answer


def _fit_and_predict(inputs: Floats, targets: Floats, asked: Floats) -> Floats:
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale < 1e-9] = np.inf  # a constant feature weighs nothing
    mean = targets.mean(axis=0)
    x, y = (inputs - centre) / scale, targets - mean
    values, basis = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0.0)
    projected = basis.T @ (x.T @ y)  # [D, K]
    rounds = len(x)
    errors = []
    for penalty in PENALTIES:
        shrunk = 1 / (values + penalty)
        residual = (y**2).sum(axis=0) - 2 * (projected**2 * shrunk[:, None]).sum(axis=0)
        residual = residual + (projected**2 * (values * shrunk**2)[:, None]).sum(axis=0)
        freedom = 1 + (values * shrunk).sum()  # 1: the mean
        errors.append(residual / max(rounds - freedom, 1e-9) ** 2)
    chosen = np.array(PENALTIES)[np.argmin(errors, axis=0)]  # [K]
    weights = basis @ (projected / (values[:, None] + chosen[None, :]))
    return ((asked - centre) / scale) @ weights + mean
