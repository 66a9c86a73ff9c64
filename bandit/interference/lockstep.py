"""Many runs of the shared queues at once: one pass over the arrivals, every step an array over the runs.

Same queues as `queue.py` (the tests hold the two to each other), without batches and without learning; some millions
of requests a second. What makes it possible: first come first served with c replicas needs no events, as a request
starts when it arrives or when the first replica is free, whichever is later (Kiefer & Wolfowitz 1955).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bandit.errors import BadTraffic

from .outcomes import REFUSED, Labels, Outcomes, utility
from .routing import Route
from .tiers import LATENCY_PER_S, Tier, quality
from .traffic import Ints, Requests


def simulate(
    tiers: Sequence[Tier],
    requests: Requests,
    routes: Sequence[Route],
    variant: Labels,
    *,
    pools: Sequence[Sequence[int]] | None = None,
    sees_own: bool = False,
    latency_per_s: float = LATENCY_PER_S,
) -> Outcomes:
    """Serve all requests. `variant` [n, R] says which of `routes` decides.

    `pools` gives the tier indices that each variant may use; None: all. `sees_own`: a variant counts only its own
    requests as in flight, as when each runs in gateways of its own; the queues are shared all the same.
    """
    if any(tier.batch > 1 for tier in tiers):
        raise BadTraffic("a tier has a batch above 1; allowed here: 1 (the simulation in queue.py takes batches)")
    n, runs = requests.at_s.shape
    kinds, width = len(tiers), max(tier.replicas for tier in tiers)
    places = np.array([tier.places for tier in tiers])
    service_s = np.array([tier.service_s for tier in tiers])
    worth = quality(tiers, requests.hardness)
    free_s = np.zeros((runs, kinds, width))
    for index, tier in enumerate(tiers):
        free_s[:, index, tier.replicas :] = np.inf
    departs_s = np.full((runs, kinds, int(places.max())), -np.inf)
    owner = np.zeros(departs_s.shape, dtype=np.int8)
    barred = np.zeros((len(routes), kinds), dtype=bool)
    for number, mine in enumerate(pools or ()):
        barred[number] = True
        barred[number, list(mine)] = False
    served = np.empty((n, runs), dtype=np.int8)
    latency_s, found = np.zeros((n, runs)), np.empty((n, runs), dtype=np.int64)
    everyone = np.arange(runs)
    one_route = all(route == routes[0] for route in routes)
    for i in range(n):
        now_s, label = requests.at_s[i], variant[i]
        busy = departs_s > now_s[:, None, None]
        in_flight = _count(busy)
        found[i] = in_flight.sum(axis=1)
        seen = _count(busy & (owner == label[:, None, None])) if sees_own else in_flight
        appeal = routes[0].appeal(tiers, seen, worth[i])
        if not one_route:
            for number in range(1, len(routes)):
                other = routes[number].appeal(tiers, seen, worth[i])
                appeal = np.where((label == number)[:, None], other, appeal)
        appeal = np.where((in_flight >= places) | barred[label], -np.inf, appeal)
        choice = appeal.argmax(axis=1)
        taken = appeal[everyone, choice] > -np.inf
        rows, tier = everyone[taken], choice[taken]
        replica = free_s[rows, tier].argmin(axis=1)
        start_s = np.maximum(free_s[rows, tier, replica], now_s[taken])
        end_s = start_s + service_s[tier] * requests.work[i, taken]
        free_s[rows, tier, replica] = end_s
        slot = departs_s[rows, tier].argmin(axis=1)  # of whoever left first: fewer than `places` are there
        departs_s[rows, tier, slot] = end_s
        owner[rows, tier, slot] = label[taken]
        served[i] = np.where(taken, choice, REFUSED)
        latency_s[i, taken] = end_s - now_s[taken]
    return Outcomes(served, latency_s, utility(tiers, requests, served, latency_s, latency_per_s), found)


def _count(busy: NDArray[np.bool_]) -> Ints:
    """How many of the last axis; sums of bytes are twice as fast as `count_nonzero`."""
    return busy.view(np.uint8).sum(axis=2, dtype=np.int64)
