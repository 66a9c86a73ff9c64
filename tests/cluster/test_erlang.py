"""Tests of the staffing formulas against known values of Erlang's tables and closed forms."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.erlang import servers_for_wait, waiting_probability


@pytest.mark.parametrize(
    ("load", "servers", "expected"),
    [
        (0.5, 1, 0.5),  # M/M/1: its utilisation
        (1.0, 2, 1 / 3),  # closed form a^2 / (2 + a) ... = 1/3
        (8.0, 10, 0.40918),  # tables of Erlang C
        (90.0, 100, 0.21693),
        (2.0, 2, 1.0),  # cannot keep up
    ],
)
def test_waiting_probability_is_erlang_c(load: float, servers: int, expected: float) -> None:
    assert waiting_probability(load, 1.0, servers) == pytest.approx(expected, abs=1e-4)


def share_late(rate_per_s: float, service_s: float, servers: int, wait_s: float) -> float:
    """The closed form of M/M/c, written from the waiting probability alone."""
    if rate_per_s * service_s >= servers:
        return 1.0
    return waiting_probability(rate_per_s, service_s, servers) * math.exp(-(servers / service_s - rate_per_s) * wait_s)


@settings(deadline=None)
@given(
    rate_per_s=st.floats(0.01, 200),
    service_s=st.floats(0.01, 3),
    wait_s=st.floats(0, 5),
    late_share=st.floats(0.001, 0.9),
)
def test_servers_for_wait_is_the_first_that_is_good_enough(
    rate_per_s: float, service_s: float, wait_s: float, late_share: float
) -> None:
    servers = servers_for_wait(rate_per_s, service_s, wait_s, late_share=late_share)
    assert share_late(rate_per_s, service_s, servers, wait_s) <= late_share * (1 + 1e-9)
    assert servers == 1 or share_late(rate_per_s, service_s, servers - 1, wait_s) >= late_share * (1 - 1e-9)


def test_servers_for_wait_grows_as_the_square_root_says() -> None:
    """Halfin and Whitt 1981: c = a + beta sqrt(a), with beta 1.42 for a waiting probability of 0.1."""
    for load in (25.0, 100.0, 400.0, 2500.0):
        assert servers_for_wait(load, 1.0, 0.0, late_share=0.1) == pytest.approx(load + 1.42 * load**0.5, abs=1.5)


def test_servers_for_wait_needs_fewer_with_batches_and_never_fewer_than_full_ones() -> None:
    alone = servers_for_wait(80.0, 1.0, 1.0, late_share=0.05)
    together = servers_for_wait(80.0, 1.0, 1.0, late_share=0.05, batch=8)
    assert 80 / 8 < together < alone / 4


@pytest.mark.parametrize(("rate_per_s", "service_s"), [(0.0, 1.0), (1.0, 0.0)])
def test_servers_for_wait_of_no_work_is_none(rate_per_s: float, service_s: float) -> None:
    assert servers_for_wait(rate_per_s, service_s, 1.0, late_share=0.05) == 0


def test_servers_for_wait_stops_at_the_most_allowed() -> None:
    assert servers_for_wait(1e308, 1e308, 1.0, late_share=0.05, most=7) == 7
    assert servers_for_wait(100.0, 1.0, 0.0, late_share=1e-9, most=7) == 7


@settings(deadline=None)
@given(
    small=st.floats(0, 1e3),
    more=st.floats(0, 1e3),
    service_s=st.floats(1e-3, 10),
    wait_s=st.floats(0, 100),
    batch=st.integers(1, 16),
)
def test_servers_for_wait_never_falls_as_demand_grows(
    small: float, more: float, service_s: float, wait_s: float, batch: int
) -> None:
    before = servers_for_wait(small, service_s, wait_s, late_share=0.05, batch=batch, most=500)
    assert servers_for_wait(small + more, service_s, wait_s, late_share=0.05, batch=batch, most=500) >= before
