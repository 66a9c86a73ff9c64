"""How many servers a queue needs so that few wait long: Erlang's formulas, with batches. Pure numbers, no state.

Sources: A. K. Erlang 1917; for the recursion and the waiting-time tail, e.g. Kleinrock, Queueing Systems I (1975), 3.5.
"""

from __future__ import annotations

import math

MOST_SERVERS = 10_000  # more than any tier has; a search of so many steps takes about a millisecond


def servers_for_wait(
    rate_per_s: float, service_s: float, wait_s: float, *, late_share: float, batch: int = 1, most: int = MOST_SERVERS
) -> int:
    """The fewest servers for which at most `late_share` of all requests wait longer than `wait_s`; at most `most`.

    `service_s` is what one batch of up to `batch` requests takes, full or not. With c servers and load a = rate x
    service, an M/M/c queue has

        P(wait > t) = C(c, a) exp(-(c / service - rate / batch) t),      C: Erlang's probability that all are busy

    which is exact for batch 1. With batches, C takes the load as if every request were a batch of its own (at low load
    it is) and the exponent that of full batches (at high load they are), so both err towards more servers.
    Never falls as `rate_per_s`, `service_s` or -`wait_s` grow.
    """
    if rate_per_s <= 0 or service_s <= 0:
        return 0
    load = rate_per_s * service_s  # a, in servers; may overflow to infinity
    blocked = 1.0  # Erlang B(k, a), by B(k) = a B(k-1) / (k + a B(k-1))
    for servers in range(1, most):
        offered = load * blocked
        blocked = 1.0 if math.isinf(offered) else offered / (servers + offered)
        spare = servers - load / batch
        if spare <= 0:
            continue  # even full batches would not keep up
        busy = 1.0 if servers <= load else servers * blocked / (servers - load * (1.0 - blocked))
        if busy * math.exp(-spare * wait_s / service_s) <= late_share:
            return servers
    return most


def waiting_probability(rate_per_s: float, service_s: float, servers: int) -> float:
    """Erlang C: the share of requests that find all servers of an M/M/c queue busy; 1 where they cannot keep up."""
    load = rate_per_s * service_s
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))
