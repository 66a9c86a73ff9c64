"""What came of simulated requests, and what it was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tiers import Tier, quality
from .traffic import Floats, Ints, Requests

Labels = NDArray[np.int8]
REFUSED = -1


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of the requests; every field is [n, R]."""

    tier: Labels  # index into the tiers, or REFUSED
    latency_s: Floats  # from arrival to image; 0 where refused
    utility: Floats  # 0 where refused
    in_flight: Ints  # at all tiers together, as the request found them


def utility(
    tiers: Sequence[Tier], requests: Requests, served: Labels, latency_s: Floats, latency_per_s: float
) -> Floats:
    """Quality less the priced seconds, [n, R]; 0 where refused."""
    worth = np.take_along_axis(quality(tiers, requests.hardness), np.maximum(served, 0)[..., None], axis=2)[..., 0]
    return np.where(served == REFUSED, 0.0, worth - latency_per_s * latency_s)
