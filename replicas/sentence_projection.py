"""From a sentence encoder's 384 numbers to the 128 that a router learns from: x = (v - mean) @ basis.

The matrix is fixed: what was learned from one is worth nothing under another, so a new one is a new features schema. It
is principal components of vectors of public text-to-image prompts (`replicas.training.sentence_projection`), a
statistic of theirs that holds none of them. Beside it lies the vector of one sentence of ours, `PROBE`, by which
whoever loads an encoder sees whether it is the one that the matrix was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .errors import ModelNotLoadable

PROJECTION = Path(__file__).with_name("weights") / "sentence_projection.safetensors"
INPUT_NUMBERS = 384
OUTPUT_NUMBERS = 128
PROBE = "a red cat to the left of two dogs, in the style of a woodcut"


@dataclass(frozen=True, slots=True, eq=False)
class SentenceProjection:
    """Arrays are float32; the columns of `basis` are orthonormal."""

    mean: NDArray[np.float32]  # [384]
    basis: NDArray[np.float32]  # [384, 128]
    probe: NDArray[np.float32]  # [384], the encoder's vector of PROBE

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """[B, 384] float32 of unit length -> [B, 128] float32, each within [-2, 2]."""
        if vectors.ndim != 2 or vectors.shape[1] != INPUT_NUMBERS:
            raise ValueError(f"vectors have shape {vectors.shape}; needed: [B, {INPUT_NUMBERS}]")
        return np.asarray((vectors.astype(np.float32) - self.mean) @ self.basis, dtype=np.float32)


def load_projection(path: Path = PROJECTION) -> SentenceProjection:
    """Raises ModelNotLoadable."""
    wanted = {"mean": (INPUT_NUMBERS,), "basis": (INPUT_NUMBERS, OUTPUT_NUMBERS), "probe": (INPUT_NUMBERS,)}
    do = "restore the file from the repository, or make it with `python -m replicas.training.sentence_projection`"
    try:
        parts = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelNotLoadable(f"{path}: not a sentence projection ({error}); {do}") from error
    for name, shape in wanted.items():
        found = parts.get(name)
        if found is None or found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
            given = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ModelNotLoadable(f"{path}: {name} is {given}; needed: finite float32 {list(shape)}; {do}")
    return SentenceProjection(parts["mean"], parts["basis"], parts["probe"])
