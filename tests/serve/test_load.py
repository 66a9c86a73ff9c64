from __future__ import annotations

from contextlib import suppress

import pytest

from bandit.context import ArmContext
from serve.load import LoadBoard

ARMS = (
    ArmContext("gan@fast", "gan", "fast", "gan", 0.001, 0.1),
    ArmContext("flow@draft", "flow", "draft", "flow", 0.01, 1.0),
    ArmContext("flow@standard", "flow", "standard", "flow", 0.02, 2.0),
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def board(**options) -> LoadBoard:
    return LoadBoard(ARMS, failures=2, cooldown_s=5, clock=options.pop("clock", Clock()), **options)


def by_name(load: LoadBoard, **options) -> dict[str, ArmContext]:
    return {arm.name: arm for arm in load.arms({arm.name for arm in ARMS}, **options)}


def test_sending_counts_per_tier_and_forgets_on_failure() -> None:
    load = board()
    with suppress(KeyError), load.sending("flow", 3):
        arms = by_name(load)
        assert (arms["flow@draft"].in_flight, arms["flow@standard"].in_flight, arms["gan@fast"].in_flight) == (3, 3, 0)
        raise KeyError
    assert by_name(load)["flow@draft"].in_flight == 0


def test_served_moves_the_estimate_of_that_arm_only() -> None:
    load = board()
    for _ in range(50):
        load.served("flow@draft", 3.0)
    assert by_name(load)["flow@draft"].service_s == pytest.approx(3.0, abs=0.01)
    assert by_name(load)["flow@standard"].service_s == 2.0


def test_failed_closes_the_tier_until_the_cooldown_is_over() -> None:
    clock = Clock()
    load = board(clock=clock)
    load.failed("flow")
    load.failed("flow")
    assert [arm.available for arm in by_name(load).values()] == [True, False, False]
    assert load.retry_after_s(["flow@draft"]) == 5
    clock.now_s = 5
    assert by_name(load)["flow@draft"].available


def test_arms_without_replica_are_unavailable_unless_the_caller_waits_or_the_tier_sleeps() -> None:
    load = board()
    load.set_replicas({"gan": 0, "flow": 3})
    assert not by_name(load)["gan@fast"].available
    assert by_name(load, patient=True)["gan@fast"].available
    assert by_name(load)["flow@draft"].replicas == 3
    sleepy = board(sleepers={"gan"})
    sleepy.set_replicas({"gan": 0})
    assert by_name(sleepy)["gan@fast"].available


def test_arms_are_those_asked_for_in_the_catalogues_order() -> None:
    assert [arm.name for arm in board().arms({"flow@standard", "gan@fast"})] == ["gan@fast", "flow@standard"]
