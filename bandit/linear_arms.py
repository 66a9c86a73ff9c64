"""One ridge regression of quality per arm, none sharing anything with another: the model of LinUCB and Thompson.

Li, Chu, Langford, Schapire 2010, "A contextual-bandit approach to personalized news article recommendation",
Algorithm 1 (disjoint linear models), per arm:

    A = ridge * I + sum of x x'      b = sum of x (quality - 1/2)      theta = A^-1 b

A^-1 is kept by Sherman-Morrison, theta by the recursion that follows from it, and both are solved anew from A and b
every RESOLVE_EVERY images, before rounding errors add up. Labels are centred: an arm never seen is expected at 1/2.

Equal folds give equal bytes on one machine and build of numpy; BLAS may round differently on another.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .blas import one_thread
from .context import ArmContext, Context, PromptFeatures
from .design_vector import MAX_DIMENSION, design_vector
from .errors import BadContext, BadState
from .roster import Roster

RESOLVE_EVERY = 2048  # images of one arm
CENTRE = 0.5

Floats = NDArray[np.float64]


class LinearArms:
    """Arms by name, their matrices stacked so that a decision is one product. float64 throughout."""

    part_names = frozenset({"head", "numbers", "roster"})

    def __init__(self, ridge: float, buckets: int) -> None:
        self._ridge = ridge
        self._buckets = buckets
        self._roster = Roster()
        self._names: list[str] = []
        self._images: list[int] = []
        self._resize(0)

    def estimate(self, context: Context) -> dict[str, tuple[float, float]]:
        """Expected quality, not clipped, and sqrt(x' A^-1 x) per arm. Raises BadContext on another dimension."""
        x = self._design(context.features)
        unseen = (CENTRE, float(np.sqrt(x @ x / self._ridge)))
        if not self._names:
            return {arm.name: unseen for arm in context.arms}
        # matmul takes one arm at a time to BLAS, which is below the size at which it wakes threads.
        widths = np.sqrt(np.maximum(np.matmul(self._inverse, x) @ x, 0.0)).tolist()
        means = (self._theta @ x + CENTRE).tolist()
        known = dict(zip(self._names, zip(means, widths, strict=True), strict=True))
        return {arm.name: known.get(arm.name, unseen) for arm in context.arms}

    def learn(self, context: Context, arm: ArmContext, quality: float | None) -> None:
        """Fold one image of `arm`; None: nobody measured its quality. Raises BadContext on another dimension."""
        if quality is not None:
            x = self._design(context.features)
            self._update(self._index(arm.name, len(x)), x, quality - CENTRE)
        for gone in self._roster.note(one.name for one in context.arms):
            self._forget(gone)

    def parts(self) -> dict[str, bytes]:
        """Raw little-endian float64, triangles of the symmetric matrices. Raises BadState if a value is not finite."""
        upper = _upper(self._dimension)
        numbers = (self._gram[:, *upper], self._inverse[:, *upper], self._moments, self._theta)
        if not all(np.isfinite(part).all() for part in numbers):
            raise BadState("a parameter of the linear model is not finite; it must not be published")
        head = {"dimension": self._dimension, "names": self._names, "images": self._images}
        return {
            "head": json.dumps(head, sort_keys=True).encode(),
            "numbers": b"".join(part.astype("<f8").tobytes() for part in numbers),
            "roster": self._roster.state(),
        }

    def read(self, parts: dict[str, bytes]) -> LinearArms:
        """The model that wrote `parts`, with this one's options. Raises BadState."""
        model = LinearArms(self._ridge, self._buckets)
        model._roster = Roster.read(parts["roster"])
        try:
            head = json.loads(parts["head"])
            dimension, names, images = head["dimension"], head["names"], head["images"]
            if type(dimension) is not int or not 0 <= dimension <= MAX_DIMENSION:
                raise BadState(f"dimension of the linear model is {dimension!r}; allowed: 0 to {MAX_DIMENSION}")
            if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
                raise BadState(f"arms of the linear model are {names!r}")
            if len(images) != len(names) or not all(type(count) is int and count >= 1 for count in images):
                raise BadState(f"the linear model has seen {images!r} images of {names!r}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadState(f"the linear model's head cannot be read: {error}") from error
        upper = _upper(dimension)
        triangle, arms = len(upper[0]), len(names)
        if len(parts["numbers"]) != 16 * arms * (triangle + dimension):
            raise BadState(f"the linear model holds {len(parts['numbers'])} bytes for {arms} arms of {dimension}")
        numbers = np.frombuffer(parts["numbers"], "<f8").astype(np.float64)
        if not np.isfinite(numbers).all():
            raise BadState("a parameter of the linear model is not finite")
        ends = np.cumsum([arms * triangle, arms * triangle, arms * dimension])
        gram, inverse, moments, theta = np.split(numbers, ends)
        model._names, model._images = list(names), list(images)
        model._resize(dimension)
        for matrix, packed in ((model._gram, gram), (model._inverse, inverse)):
            matrix[:, *upper] = packed.reshape(arms, triangle)
            matrix[:, upper[1], upper[0]] = matrix[:, *upper]
            if arms and not (np.diagonal(matrix, axis1=1, axis2=2) > 0).all():
                raise BadState("a matrix of the linear model is not positive definite")
        model._moments, model._theta = moments.reshape(arms, dimension), theta.reshape(arms, dimension)
        return model

    def _design(self, features: PromptFeatures) -> Floats:
        x = design_vector(features, self._buckets)
        if len(x) > MAX_DIMENSION:
            raise BadContext(f"the features make a vector of {len(x)} numbers; allowed: {MAX_DIMENSION} at most")
        if self._dimension not in (0, len(x)):
            raise BadContext(f"the features make a vector of {len(x)} numbers, others before {self._dimension}")
        return x

    def _update(self, arm: int, x: Floats, label: float) -> None:
        # einsum, not BLAS: the learned bytes do not depend on how many threads BLAS has.
        inverse = self._inverse[arm]
        gain = np.einsum("ij,j->i", inverse, x)
        grown = 1.0 + float(gain @ x)
        self._theta[arm] += gain * ((label - float(self._theta[arm] @ x)) / grown)
        gain *= grown**-0.5  # both factors alike, so that the matrix stays symmetric to the last bit
        inverse -= np.multiply.outer(gain, gain)
        self._gram[arm] += np.multiply.outer(x, x)
        self._moments[arm] += label * x
        self._images[arm] += 1
        if self._images[arm] % RESOLVE_EVERY == 0:
            with one_thread():
                solved = np.linalg.inv(self._gram[arm])
            self._inverse[arm] = (solved + solved.T) / 2
            self._theta[arm] = np.einsum("ij,j->i", self._inverse[arm], self._moments[arm])

    def _index(self, name: str, dimension: int) -> int:
        if name not in self._names:
            kept = (self._gram, self._inverse, self._moments, self._theta)
            self._names.append(name)
            self._images.append(0)
            self._resize(dimension)
            for old, new in zip(kept, (self._gram, self._inverse, self._moments, self._theta), strict=True):
                if len(old):
                    new[:-1] = old
            self._gram[-1] = self._ridge * np.eye(dimension)
            self._inverse[-1] = np.eye(dimension) / self._ridge
        return self._names.index(name)

    def _resize(self, dimension: int) -> None:
        """Zeros for the arms that there are."""
        arms = len(self._names)
        self._dimension = dimension
        self._gram = np.zeros((arms, dimension, dimension))
        self._inverse = np.zeros((arms, dimension, dimension))
        self._moments = np.zeros((arms, dimension))
        self._theta = np.zeros((arms, dimension))

    def _forget(self, name: str) -> None:
        if name not in self._names:
            return
        arm = self._names.index(name)
        del self._names[arm], self._images[arm]
        self._gram, self._inverse = np.delete(self._gram, arm, axis=0), np.delete(self._inverse, arm, axis=0)
        self._moments, self._theta = np.delete(self._moments, arm, axis=0), np.delete(self._theta, arm, axis=0)
        if not self._names:
            self._resize(0)


@lru_cache(maxsize=8)
def _upper(dimension: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(dimension)
