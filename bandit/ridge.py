"""Ridge regression of several arms at once: what they have in common is learned from all, what differs shrinks away.

    y(arm, x) = mean(arm) + (x - mean x(arm)) . (w + d(arm))
    w         = argmin  sum over arms of |y - mean(arm) - (x - mean x(arm)) . w|^2 + shared_penalty |w|^2
    d(arm)    = argmin  |residual of w on this arm|^2 + own_penalty |d|^2

A two-level model solved level by level (Gelman & Hill 2007, chapter 12, with the variances given as penalties). Which
arm is best depends on d alone, so what little is known of an arm cannot make it look better on hard prompts only
because others, often seen there, look worse: that was the fault of separate regressions when one arm had most samples.

Sums are kept, not weights: they are exact, forget by one factor, and are solved anew whenever an arm's own or all
samples have grown by a tenth. Equal folds give equal bytes on one machine with one build of numpy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .blas import one_thread
from .errors import BadContext, BadState

Floats = NDArray[np.float64]

GROWTH = 0.1  # share of new samples after which a solution is renewed
MEAN_COUNT = 3.0  # an arm's mean counts as if so many samples at its likes' mean had come first


class Ridge:
    """Arms by name, float64 throughout. `prior` [T] is expected of each target before anything was seen."""

    def __init__(self, prior: Sequence[float], shared_penalty: float, own_penalty: float, keep: float = 1.0) -> None:
        """`keep` in (0, 1]: what one sample of an arm leaves of its earlier ones (1: all, for ever)."""
        self._prior = np.array(prior, dtype=np.float64)
        self._penalties = (shared_penalty, own_penalty)
        self._keep = keep
        self.names: list[str] = []
        self._kinds: list[str] = []
        self._counts: Floats = np.zeros(0)  # discounted samples per arm
        self._solved: Floats = np.zeros(0)  # the count at which an arm was last solved
        self._fresh = 0.0  # samples since the shared part was solved
        self._resize(0)

    def predict(self, x: Floats, arms: Sequence[tuple[str, str]]) -> Floats:
        """[K, T] for a vector [D] and arms as (name, kind); an arm not seen yet is expected like its kind, or all."""
        known = {name: row for row, name in enumerate(self.names)}
        if not self._dimension:
            return np.tile(self._prior, (len(arms), 1))
        self._check_width(x)
        values = np.einsum("d,ktd->kt", x, self._weights) + self._intercepts
        rows = [known.get(name) for name, _ in arms]
        if None not in rows:
            return values[rows]
        shared = x @ self._shared.T
        return np.stack([
            self._likes(kind) + shared - self._centre() @ self._shared.T if row is None else values[row]
            for row, (_, kind) in zip(rows, arms, strict=True)
        ])  # fmt: skip

    def learn(self, x: Floats, arm: str, kind: str, targets: Sequence[float]) -> None:
        """Add one sample: x [D], targets [T]. Raises BadContext for a vector of another length than the first one's."""
        if self._dimension:
            self._check_width(x)
        row = self._row(arm, kind, len(x))
        y = np.array(targets, dtype=np.float64)
        if self._keep < 1.0:
            for sums in (self._counts, self._x, self._y, self._xx, self._xy):
                sums[row] *= self._keep
        self._counts[row] += 1.0
        self._x[row] += x
        self._y[row] += y
        self._xx[row] += np.multiply.outer(x, x)
        self._xy[row] += np.multiply.outer(y, x)
        self._fresh += 1.0
        if self._fresh > GROWTH * self._counts.sum():
            self._fresh = 0.0
            with one_thread():
                self._solve_shared()
                for one in range(len(self.names)):
                    self._solve(one)
        elif self._counts[row] > (1.0 + GROWTH) * self._solved[row]:
            with one_thread():
                self._solve(row)

    def count(self, arm: str) -> float:
        """Discounted samples of an arm, 0 where there are none."""
        return float(self._counts[self.names.index(arm)]) if arm in self.names else 0.0

    def forget(self, arm: str, keep: float = 0.0) -> None:
        """Keep only this share of what an arm's samples weigh; 0 drops the arm."""
        if arm not in self.names:
            return
        row = self.names.index(arm)
        if keep > 0.0:
            for sums in (self._counts, self._x, self._y, self._xx, self._xy):
                sums[row] *= keep
            with one_thread():
                self._solve(row)
            return
        del self.names[row], self._kinds[row]
        for name in ("_counts", "_solved", *_SUMS, "_weights", "_intercepts"):
            setattr(self, name, np.delete(getattr(self, name), row, axis=0))

    def parts(self) -> dict[str, bytes]:
        """Raw little-endian float64 behind a JSON head. Raises BadState if a value is not finite."""
        upper = np.triu_indices(self._dimension)
        arrays = [self._counts, self._solved, self._x, self._y, self._xx[:, *upper], self._xy]
        arrays += [self._weights, self._intercepts, self._shared]
        if not all(np.isfinite(array).all() for array in arrays):
            raise BadState("a number of the regression is not finite; it must not be published")
        head = {"dimension": self._dimension, "names": self.names, "kinds": self._kinds, "fresh": self._fresh}
        return {
            "ridge_head": json.dumps(head, sort_keys=True).encode(),
            "ridge_numbers": b"".join(array.astype("<f8").tobytes() for array in arrays),
        }

    def read(self, parts: dict[str, bytes]) -> Ridge:
        """The regression that wrote `parts` with equal arguments. Raises BadState."""
        model = Ridge(self._prior.tolist(), *self._penalties, self._keep)
        try:
            head = json.loads(parts["ridge_head"])
            d, names, kinds, fresh = head["dimension"], head["names"], head["kinds"], head["fresh"]
            numbers = np.frombuffer(parts["ridge_numbers"], "<f8").astype(np.float64)
            if type(d) is not int or d < 0 or len(names) != len(kinds) or len(set(names)) != len(names):
                raise BadState(f"the regression's head holds dimension {d!r}, arms {names!r}, kinds {kinds!r}")
            if not all(isinstance(text, str) for text in (*names, *kinds)) or not isinstance(fresh, float):
                raise BadState("the regression's head holds values of the wrong kind")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadState(f"the regression's head cannot be read: {error}") from error
        k, t, upper = len(names), len(self._prior), np.triu_indices(d)
        shapes = [(k,), (k,), (k, d), (k, t), (k, len(upper[0])), (k, t, d), (k, t, d), (k, t), (t, d)]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        if len(numbers) != ends[-1] or not np.isfinite(numbers).all():
            raise BadState(f"the regression holds {len(numbers)} numbers, expected {ends[-1]} finite ones")
        pieces = [piece.reshape(shape) for piece, shape in zip(np.split(numbers, ends[:-1]), shapes, strict=True)]
        model.names, model._kinds, model._fresh = list(names), list(kinds), fresh
        model._resize(d)
        model._counts, model._solved, model._x, model._y, packed, model._xy = (piece.copy() for piece in pieces[:6])
        model._weights, model._intercepts, model._shared = (piece.copy() for piece in pieces[6:])
        if (model._counts < 0).any():
            raise BadState("the regression counts fewer than no samples")
        model._xx[:, *upper] = packed
        model._xx[:, upper[1], upper[0]] = packed
        return model

    def _check_width(self, x: Floats) -> None:
        if len(x) != self._dimension:
            raise BadContext(f"the features make a vector of {len(x)} numbers, others before {self._dimension}")

    def _solve_shared(self) -> None:
        rows = self._counts > 0
        counts = self._counts[rows, None]
        xx = self._xx[rows].sum(axis=0) - self._x[rows].T @ (self._x[rows] / counts)
        xy = self._xy[rows].sum(axis=0) - self._y[rows].T @ (self._x[rows] / counts)
        self._shared = np.linalg.solve(xx + self._penalties[0] * np.eye(self._dimension), xy.T).T

    def _solve(self, row: int) -> None:
        count = self._counts[row]
        self._solved[row] = count
        mean_x, mean_y = self._x[row] / max(count, 1e-9), self._y[row] / max(count, 1e-9)
        xx = self._xx[row] - count * np.multiply.outer(mean_x, mean_x)
        residual = self._xy[row] - count * np.multiply.outer(mean_y, mean_x) - self._shared @ xx
        own = np.linalg.solve(xx + self._penalties[1] * np.eye(self._dimension), residual.T).T
        self._weights[row] = self._shared + own
        likes = self._likes(self._kinds[row], but=row)
        mean = (count * mean_y + MEAN_COUNT * likes) / (count + MEAN_COUNT)
        self._intercepts[row] = mean - self._weights[row] @ mean_x

    def _likes(self, kind: str, but: int | None = None) -> Floats:
        """Mean targets [T] of the arms of one kind, of all arms where there is none, of nothing seen yet the prior."""
        rows = np.array([own == kind and row != but for row, own in enumerate(self._kinds)], dtype=bool)
        if not (rows.any() and self._counts[rows].sum() > 0):
            rows = np.ones(len(self._kinds), dtype=bool)
        return (self._y[rows].sum(axis=0) + self._prior) / (self._counts[rows].sum() + 1.0)

    def _centre(self) -> Floats:
        return self._x.sum(axis=0) / max(float(self._counts.sum()), 1e-9)

    def _row(self, arm: str, kind: str, dimension: int) -> int:
        if arm in self.names:
            return self.names.index(arm)
        if not self._dimension:
            self._resize(dimension)
        self.names.append(arm)
        self._kinds.append(kind)
        for name in ("_counts", "_solved", *_SUMS, "_weights", "_intercepts"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros((1, *array.shape[1:]))]))
        return len(self.names) - 1

    def _resize(self, dimension: int) -> None:
        k, t, d = len(self.names), len(self._prior), dimension
        self._dimension = d
        self._x: Floats = np.zeros((k, d))
        self._y: Floats = np.zeros((k, t))
        self._xx: Floats = np.zeros((k, d, d))
        self._xy: Floats = np.zeros((k, t, d))
        self._weights: Floats = np.zeros((k, t, d))
        self._intercepts: Floats = np.zeros((k, t))
        self._shared = np.zeros((t, d))


_SUMS = ("_x", "_y", "_xx", "_xy")
