"""Sentence vectors in fewer numbers, for libraries whose cost per round grows with the square of the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .table import Floats
from .vectors import Vectors

COMPONENTS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Principal components of the vectors of the part that comes first, each scaled to unit variance, and a one."""

    centre: Floats  # [D]
    axes: Floats  # [D, C]

    @classmethod
    def of(cls, vectors: Vectors, components: int = COMPONENTS) -> Projection:
        """`vectors` [N, D]; fewer components where the vectors span fewer."""
        centre = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - centre
        values, basis = np.linalg.eigh(centred.T @ centred / len(vectors))
        kept = [one for one in range(len(values))[::-1][:components] if values[one] > 1e-9]
        return cls(centre, basis[:, kept] / np.sqrt(values[kept]))

    def __call__(self, vector: Sequence[float]) -> Floats:
        """[C + 1], the last one 1."""
        return np.append((np.asarray(vector) - self.centre) @ self.axes, 1.0)
