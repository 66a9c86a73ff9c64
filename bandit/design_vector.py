"""A prompt's features as one vector, for models that are linear in them.

    [ 1 | numbers of the schema, by name | tokens hashed into `buckets` with signs | the encoder's vector, if any ]

Tokens share buckets (Weinberger et al. 2009, "Feature hashing for large scale multitask learning": the sign makes
collisions cancel on average); the block has unit length, so that a long prompt weighs no more than a short one.
"""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .context import PromptFeatures
from .features import extract

# A model is a matrix of dimension x dimension per arm: 2,048 are 32 MiB.
MAX_DIMENSION = 2048


@cache
def numeric_slots() -> dict[str, int]:
    """Position of each number that `features.extract` always gives; 0 is the constant's."""
    return {name: 1 + index for index, name in enumerate(sorted(extract("").numeric))}


def design_vector(features: PromptFeatures, buckets: int) -> NDArray[np.float64]:
    """float64 [1 + numbers + buckets + len(vector)]. A number of another name goes where a token of it would.

    Without buckets, tokens and such numbers are left out.
    """
    slots = numeric_slots()
    start = 1 + len(slots)
    row = [0.0] * (start + buckets)
    row[0] = 1.0
    if features.tokens and buckets:
        step = len(features.tokens) ** -0.5
        for token in features.tokens:
            code = crc32(token.encode())
            row[start + (code >> 1) % buckets] += step if code & 1 else -step
    for name, value in features.numeric.items():
        slot = slots.get(name)
        if slot is not None:
            row[slot] += value
        elif buckets:
            row[start + (crc32(name.encode()) >> 1) % buckets] += value
    row.extend(features.vector)
    return np.array(row)
