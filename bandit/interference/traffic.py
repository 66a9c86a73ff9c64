"""Who arrives when, with what work: drawn once, so that every design and every policy meets the same requests.

All arrays are [n, R]: request by run, so that one step of all runs is contiguous in memory. The number of requests is
the same in every run; the time that they take is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from bandit.errors import BadTraffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ALLOWED = {  # field: (lowest, whether the lowest itself is allowed, highest)
    "rate_per_s": (0.0, False, 1e6),
    "duration_s": (0.0, False, 1e9),
    "service_cv": (0.0, True, 10.0),
    "wave": (0.0, True, 1.0),
    "day_s": (0.0, False, 1e9),
    "burst_factor": (1.0, True, 1e3),
    "burst_s": (0.0, False, 1e9),
    "calm_s": (0.0, False, 1e9),
    "session_requests": (1.0, True, 1e4),
    "think_s": (0.0, True, 1e6),
    "user_spread": (0.0, True, 3.0),
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Poisson arrivals, at will with a daily wave, bursts, and users who come in sessions."""

    rate_per_s: float  # mean over all of it
    duration_s: float
    service_cv: float = 0.5  # spread of the work of one request, standard deviation / mean; 1 is exponential
    wave: float = 0.0  # amplitude of the daily wave, as a share of the mean rate
    day_s: float = 86_400.0
    burst_factor: float = 1.0  # how much more arrives in a burst than between bursts
    burst_s: float = 20.0  # mean length of a burst
    calm_s: float = 80.0  # mean length of the time between bursts
    session_requests: float = 1.0  # mean number of requests that a user sends one after the other
    think_s: float = 1.0  # mean pause between two of them
    users: int | None = None  # sessions are spread over so many users; None: every session is a user of its own
    user_spread: float = 0.0  # sigma of the log-normal activity of users; 1.5: a few send a good part of all

    def __post_init__(self) -> None:
        for name, (lowest, included, highest) in _ALLOWED.items():
            value = getattr(self, name)
            if not isfinite(value) or not lowest <= value <= highest or (value == lowest and not included):
                above = "at least" if included else "above"
                raise BadTraffic(f"{name} is {value!r}; allowed: {above} {lowest:g}, at most {highest:g}")
        if self.users is not None and self.users < 1:
            raise BadTraffic(f"users is {self.users!r}; allowed: 1 or more, or None for one user a session")

    @property
    def requests(self) -> int:
        """How many requests one run has."""
        return max(1, round(self.rate_per_s * self.duration_s))


@dataclass(frozen=True, slots=True)
class Requests:
    """What was drawn; every field is [n, R]."""

    at_s: Floats  # ascending in each run
    user: Ints  # 0 .. users - 1; runs do not share users
    hardness: Floats  # of the prompt, in [0, 1): what a weak tier loses on it
    work: Floats  # mean 1; times the tier's service_s gives the seconds of work


def draw(traffic: Traffic, runs: int, rng: np.random.Generator) -> Requests:
    """Requests of `runs` independent runs."""
    n = traffic.requests
    if traffic.session_requests > 1.0:
        unit, user = _sessions(traffic, runs, rng)
    else:
        unit = np.cumsum(rng.exponential(1.0 / traffic.rate_per_s, (n, runs)), axis=0)
        user = np.tile(np.arange(n)[:, None], (1, runs))
    if traffic.users is not None:
        user = _shared_users(traffic, user, rng)
    at_s = np.stack([_warp(traffic, unit[:, run], rng) for run in range(runs)], axis=1) if _uneven(traffic) else unit
    if traffic.service_cv > 0:
        shape = traffic.service_cv**-2
        work = rng.gamma(shape, 1.0 / shape, (n, runs))
    else:
        work = np.ones((n, runs))
    return Requests(at_s, user, rng.random((n, runs)), work)


def _sessions(traffic: Traffic, runs: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Arrival times and session numbers: sessions start by a Poisson process, each sends a geometric number."""
    n = traffic.requests
    at_s, session = np.empty((n, runs)), np.empty((n, runs), dtype=np.int64)
    # Enough sessions for n requests after the tail of those that began late is cut off.
    count = int(1.2 * n / traffic.session_requests + 10 * (n / traffic.session_requests) ** 0.5 + 50)
    for run in range(runs):
        start_s = np.cumsum(rng.exponential(traffic.session_requests / traffic.rate_per_s, count))
        size = rng.geometric(1.0 / traffic.session_requests, count)
        number = np.repeat(np.arange(count), size)
        pause_s = rng.exponential(traffic.think_s, number.size)
        first = np.cumsum(size) - size
        pause_s[first] = 0.0
        total_s = np.cumsum(pause_s)
        when_s = start_s[number] + total_s - total_s[first][number]
        order = np.argsort(when_s, kind="stable")[:n]
        at_s[:, run], session[:, run] = when_s[order], number[order]
    return at_s, session


def _shared_users(traffic: Traffic, session: Ints, rng: np.random.Generator) -> Ints:
    """Every session's user, drawn by the users' activity."""
    assert traffic.users is not None
    user = np.empty_like(session)
    for run in range(session.shape[1]):
        activity = rng.lognormal(0.0, traffic.user_spread, traffic.users)
        cumulated = np.cumsum(activity / activity.sum())
        of_session = np.searchsorted(cumulated, rng.random(session[:, run].max() + 1))
        user[:, run] = np.minimum(of_session, traffic.users - 1)[session[:, run]]
    return user


def _uneven(traffic: Traffic) -> bool:
    return traffic.wave > 0 or traffic.burst_factor > 1


def _warp(traffic: Traffic, even_s: Floats, rng: np.random.Generator) -> Floats:
    """Times of an even process moved so that the rate follows wave and bursts (inverse of the cumulated rate)."""
    end_s = 1.5 * even_s[-1] + 10 * (traffic.burst_s + traffic.calm_s)
    step_s = min(traffic.burst_s / 4, traffic.day_s / 200) if traffic.burst_factor > 1 else traffic.day_s / 200
    grid_s = np.arange(0.0, end_s + step_s, step_s)
    level = 1.0 + traffic.wave * np.sin(2 * np.pi * grid_s / traffic.day_s)
    if traffic.burst_factor > 1:
        pieces = int(4 * end_s / (traffic.burst_s + traffic.calm_s)) + 50
        lengths = np.empty(2 * pieces)
        lengths[0::2] = rng.exponential(traffic.calm_s, pieces)
        lengths[1::2] = rng.exponential(traffic.burst_s, pieces)
        in_burst = np.searchsorted(np.cumsum(lengths), grid_s) % 2 == 1
        share = traffic.burst_s / (traffic.burst_s + traffic.calm_s)
        calm_level = 1.0 / (1.0 + share * (traffic.burst_factor - 1.0))
        level *= np.where(in_burst, traffic.burst_factor * calm_level, calm_level)
    cumulated = np.concatenate([[0.0], np.cumsum(level[:-1]) * step_s])
    # A burst-free stretch may cumulate too little for the last arrivals: they go on at the mean rate.
    beyond_s = np.maximum(even_s - cumulated[-1], 0.0)
    return np.interp(even_s, cumulated, grid_s) + beyond_s
