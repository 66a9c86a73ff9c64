"""Tests of made-up traffic: rates, order, seeds, and what is refused."""

import pytest

from cluster.errors import ImpossibleTraffic
from cluster.simulation.routers import FixedShares
from cluster.simulation.tiers import ServiceTime, TierModel
from cluster.simulation.traffic import Phase, Traffic, steady

BURST = Traffic((Phase(0.0, 2.0), Phase(100.0, 40.0), Phase(200.0, 0.0), Phase(300.0, 0.0, 40.0)), 400.0)


def test_arrivals_come_in_order_at_the_rate_of_their_phase() -> None:
    times = BURST.arrivals_s(1)
    assert list(times) == sorted(times)
    counts = [sum(start <= time < start + 100.0 for time in times) for start in (0.0, 100.0, 200.0, 300.0)]
    assert counts[2] == 0
    assert counts[0] == pytest.approx(200, abs=3 * 200**0.5)
    assert counts[1] == pytest.approx(4000, abs=3 * 4000**0.5)
    assert counts[3] == pytest.approx(2000, abs=3 * 2000**0.5)


def test_a_rate_that_rises_in_a_line_has_its_mean_where_it_should() -> None:
    """Two thirds of the way, for a rate that starts at nothing."""
    times = [time - 300.0 for time in BURST.arrivals_s(2) if time >= 300.0]
    assert sum(times) / len(times) == pytest.approx(200.0 / 3, abs=2.0)


def test_one_seed_gives_the_same_arrivals() -> None:
    assert steady(3.0, 100.0).arrivals_s(7) == steady(3.0, 100.0).arrivals_s(7)
    assert steady(3.0, 100.0).arrivals_s(7) != steady(3.0, 100.0).arrivals_s(8)


def test_rate_and_rises_are_those_of_the_phases() -> None:
    assert [BURST.rate_per_s(at_s) for at_s in (-1.0, 50.0, 150.0, 250.0, 350.0, 500.0)] == [0, 2, 40, 0, 20, 0]
    assert BURST.rises() == [(100.0, 200.0)]


@pytest.mark.parametrize(
    "phases",
    [
        (),
        (Phase(1.0, 1.0),),
        (Phase(0.0, 1.0), Phase(0.0, 2.0)),
        (Phase(0.0, -1.0),),
        (Phase(0.0, 1.0), Phase(9.0, 1.0)),
    ],
)
def test_traffic_refuses_what_cannot_be(phases: tuple[Phase, ...]) -> None:
    with pytest.raises(ImpossibleTraffic):
        Traffic(phases, 5.0)


@pytest.mark.parametrize(
    "fields",
    [{"batch": 0}, {"queue_limit": 0}, {"startup_s": -1.0}, {"service": ServiceTime(0.0)}, {"initial_replicas": -1}],
)
def test_tier_refuses_what_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(ImpossibleTraffic, match="'tier'"):
        TierModel(**({"name": "tier", "service": ServiceTime(1.0)} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("shares", [[], [0.5, 0.4], [1.5, -0.5]])
def test_shares_refuse_what_does_not_add_up(shares: list[float]) -> None:
    with pytest.raises(ImpossibleTraffic):
        FixedShares(shares)
