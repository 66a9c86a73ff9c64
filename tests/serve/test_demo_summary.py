from dataclasses import replace

import pytest

from replicas.scenes.prompts import KINDS
from serve.demo_rows import utility_of
from serve.demo_summary import moving_shares, recent_shares, shares, summarise


def test_summary_takes_means_the_median_latency_and_skips_what_is_absent(demo_rows) -> None:
    first, second, third = demo_rows(3, 0)
    found = summarise([
        replace(first, quality=0.5, utility=0.4, latency_s=1.0, cost_usd=1.0, right=True),
        replace(second, quality=None, utility=None, latency_s=2.0, cost_usd=2.0, right=None),
        replace(third, quality=1.0, utility=0.0, latency_s=30.0, cost_usd=6.0, right=False),
    ])  # fmt: skip
    assert (found.count, found.quality, found.right, found.latency_p50_s) == (3, 0.75, 0.5, 2.0)
    assert (found.cost_usd, found.utility) == (3.0, pytest.approx(0.2))


def test_summary_of_nothing_is_absent() -> None:
    found = summarise([])
    assert (found.count, found.quality, found.latency_p50_s, found.utility) == (0, None, None, None)
    assert shares([], ("a",)) is None


def test_recent_shares_look_at_the_last_of_each_kind(demo_rows, demo_arms) -> None:
    rows = [replace(row, arm=demo_arms[0] if row.number < 90 else demo_arms[1]) for row in demo_rows(100, 0)]
    found = recent_shares(rows, demo_arms, last=4)
    assert set(found) == set(KINDS)
    assert found["two"] == {demo_arms[0]: 0.5, demo_arms[1]: 0.5, demo_arms[2]: 0.0, demo_arms[3]: 0.0}
    assert recent_shares([], demo_arms)["two"] is None


def test_moving_shares_follow_a_change_and_sum_to_one(demo_rows, demo_arms) -> None:
    rows = [replace(row, arm=demo_arms[row.number >= 10]) for row in demo_rows(20, 0)]
    numbers, lines = moving_shares(rows[::-1], demo_arms, window=4)
    assert numbers == tuple(range(20))
    assert lines[demo_arms[1]] == (*[0.0] * 10, 0.25, 0.5, 0.75, *[1.0] * 7)
    assert [sum(line[i] for line in lines.values()) for i in range(20)] == [1.0] * 20


def test_utility_uses_the_weights_that_the_gateway_named() -> None:
    weights = {"quality": 2.0, "latency_per_s": 0.5, "cost_per_usd": 10.0}
    assert utility_of(weights, 0.75, 1.0, 0.01) == pytest.approx(0.9)
    assert utility_of(weights, None, 1.0, 0.01) is None
