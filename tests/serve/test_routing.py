from __future__ import annotations

from dataclasses import replace

import pytest

from bandit.context import ArmContext
from serve.routing import ATTEMPTS_LIMIT, Attempt, Failure, attempt_timeout_s, next_arm


def arm(name: str, replicas: int = 1) -> ArmContext:
    tier, preset = name.split("@")
    return ArmContext(name, tier, preset, tier, 0.001, 0.1, replicas=replicas)


ARMS = (arm("gan@fast"), arm("diffusion@8"), arm("diffusion@30"), arm("flow@standard"))
PROBABILITIES = {"gan@fast": 0.1, "diffusion@8": 0.2, "diffusion@30": 0.3, "flow@standard": 0.4}
ALL = {"gan", "diffusion", "flow"}


def failed(name: str, error: Failure = "died") -> Attempt:
    return Attempt(name, name.split("@")[0], error, 0.1)


def chosen(*attempts: Attempt, arms: tuple[ArmContext, ...] = ARMS, pinned: bool = False, open_tiers=ALL) -> str | None:
    return next_arm(PROBABILITIES, arms, attempts, pinned=pinned, open_tiers=open_tiers)


def test_next_arm_after_a_death_is_the_best_of_another_tier() -> None:
    assert chosen(failed("flow@standard")) == "diffusion@30"
    assert chosen(failed("diffusion@8")) == "flow@standard"


def test_next_arm_after_a_death_with_another_replica_is_the_same_once() -> None:
    arms = (arm("gan@fast"), arm("flow@standard", replicas=2))
    assert chosen(failed("flow@standard"), arms=arms) == "flow@standard"
    assert chosen(failed("flow@standard"), failed("flow@standard"), arms=arms) == "gan@fast"


@pytest.mark.parametrize("error", ["full", "late"])
def test_next_arm_after_full_or_late_leaves_the_tier_at_once(error: Failure) -> None:
    arms = (arm("gan@fast"), arm("flow@standard", replicas=2))
    assert chosen(failed("flow@standard", error), arms=arms) == "gan@fast"


def test_next_arm_never_goes_to_a_closed_tier_or_back_to_a_tried_one() -> None:
    assert chosen(failed("flow@standard"), open_tiers={"gan"}) == "gan@fast"
    assert chosen(failed("gan@fast", "full"), failed("flow@standard", "full"), open_tiers={"gan", "flow"}) is None


def test_next_arm_beyond_what_the_policy_would_draw_is_the_cheapest() -> None:
    """Arms above the caller's ceiling have probability 0; who must be overcharged is so by as little as can be."""
    arms = (arm("gan@fast"), replace(arm("flow@dear"), price_usd=2.0), replace(arm("flow@cheap"), price_usd=1.0))
    found = next_arm(
        {"gan@fast": 1.0, "flow@dear": 0.0, "flow@cheap": 0.0},
        arms,
        [failed("gan@fast", "full")],
        pinned=False,
        open_tiers={"gan", "flow"},
    )
    assert found == "flow@cheap"


def test_next_arm_comes_back_to_the_only_tier_whose_replica_died() -> None:
    only = (arm("gan@fast"),)
    assert chosen(failed("gan@fast"), arms=only) == "gan@fast"
    assert chosen(failed("gan@fast"), failed("gan@fast"), arms=only) is None
    assert chosen(failed("gan@fast", "full"), arms=only) is None


@pytest.mark.parametrize(
    ("error", "then"), [("died", "gan@fast"), ("drawing_failed", "gan@fast"), ("late", None), ("full", None)]
)
def test_next_arm_of_a_pinned_request_is_never_another(error: Failure, then: str | None) -> None:
    assert chosen(failed("gan@fast", error), pinned=True) == then


def test_next_arm_ends_after_the_limit() -> None:
    assert chosen(*[failed("gan@fast")] * ATTEMPTS_LIMIT, pinned=True) is None


def test_attempt_timeout_leaves_time_for_others_only_where_there_are_any() -> None:
    assert attempt_timeout_s(10, others_left=False) == 10
    assert 0 < attempt_timeout_s(10, others_left=True) < 10
