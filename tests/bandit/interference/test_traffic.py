from __future__ import annotations

import numpy as np
import pytest

from bandit.errors import BadTraffic
from bandit.interference.traffic import Traffic, draw


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"wave": 0.8, "day_s": 500.0},
        {"burst_factor": 6.0, "burst_s": 5.0, "calm_s": 20.0},
        {"session_requests": 6.0, "think_s": 0.5, "users": 50, "user_spread": 1.0},
    ],
)
def test_requests_come_in_order_and_at_the_mean_rate(extra: dict[str, float]) -> None:
    requests = draw(Traffic(10.0, 2000.0, **extra), 8, rng())  # type: ignore[arg-type]
    assert (np.diff(requests.at_s, axis=0) >= 0).all()
    assert requests.at_s[-1].mean() == pytest.approx(2000.0, rel=0.05)
    assert requests.work.mean() == pytest.approx(1.0, rel=0.01)
    assert requests.work.std() == pytest.approx(0.5, rel=0.02)
    assert requests.hardness.min() >= 0
    assert requests.hardness.max() < 1


def test_the_wave_lifts_the_first_half_of_the_day() -> None:
    requests = draw(Traffic(20.0, 1000.0, wave=0.8, day_s=1000.0), 10, rng())
    first = (requests.at_s < 500.0).mean()
    assert first == pytest.approx(0.5 + 0.8 / np.pi, abs=0.02)  # integral of 1 + 0.8 sin over half a day


def test_bursts_bunch_arrivals_beyond_poisson() -> None:
    def dispersion(traffic: Traffic) -> float:
        at_s = draw(traffic, 10, rng()).at_s
        counts = np.array([np.histogram(at_s[:, run], bins=np.arange(0, 1900, 10))[0] for run in range(10)])
        return float(counts.var() / counts.mean())

    assert dispersion(Traffic(10.0, 2000.0)) == pytest.approx(1.0, abs=0.15)
    assert dispersion(Traffic(10.0, 2000.0, burst_factor=5.0, burst_s=20.0, calm_s=80.0)) > 10


def test_sessions_hold_as_many_requests_as_asked() -> None:
    requests = draw(Traffic(10.0, 2000.0, session_requests=8.0, think_s=0.1), 4, rng())
    sizes = [len(requests.user) / len(np.unique(requests.user[:, run])) for run in range(4)]
    assert np.mean(sizes) == pytest.approx(8.0, rel=0.1)


def test_users_of_unlike_activity_make_a_few_heavy() -> None:
    def top_share(spread: float) -> float:
        traffic = Traffic(10.0, 2000.0, session_requests=4.0, users=200, user_spread=spread)
        counts = np.sort(np.bincount(draw(traffic, 1, rng()).user[:, 0], minlength=200))
        return float(counts[-20:].sum() / counts.sum())

    assert top_share(0.0) < 0.2
    assert top_share(1.5) > 0.4


def test_the_same_seed_draws_the_same() -> None:
    traffic = Traffic(10.0, 50.0, burst_factor=3.0)
    one, other = draw(traffic, 3, rng()), draw(traffic, 3, rng())
    assert (one.at_s == other.at_s).all()
    assert (one.work == other.work).all()


@pytest.mark.parametrize(
    ("field", "value"), [("rate_per_s", 0.0), ("wave", 1.5), ("burst_factor", 0.5), ("service_cv", float("nan"))]
)
def test_traffic_that_cannot_be_is_refused_with_what_is_allowed(field: str, value: float) -> None:
    with pytest.raises(BadTraffic, match=f"{field} is .*; allowed"):
        Traffic(**({"rate_per_s": 1.0, "duration_s": 1.0} | {field: value}))  # type: ignore[arg-type]
