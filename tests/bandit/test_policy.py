from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.context import ArmContext, Context
from bandit.errors import NoArmAvailable
from bandit.features import extract
from bandit.policy import available_arms, decide_by, draw, mix_floor

shares = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=8
).filter(lambda arms: any(is_open for _, is_open in arms.values()))


@given(shares, st.floats(0, 1))
def test_mix_floor_gives_a_distribution_over_open_arms(arms: dict[str, tuple[float, bool]], floor: float) -> None:
    available = {arm: is_open for arm, (_, is_open) in arms.items()}
    mixed = mix_floor({arm: share for arm, (share, _) in arms.items()}, available, floor)
    least = floor / sum(available.values())
    assert sum(mixed.values()) == pytest.approx(1)
    assert all(mixed[arm] == 0 for arm in mixed if not available[arm])
    assert all(least * (1 - 1e-9) <= mixed[arm] <= 1 + 1e-12 for arm in mixed if available[arm])


def test_mix_floor_keeps_the_distribution_without_a_floor() -> None:
    assert mix_floor({"a": 0.25, "b": 0.75}, {"a": True, "b": True}, 0.0) == {"a": 0.25, "b": 0.75}


def test_mix_floor_is_uniform_where_no_open_arm_has_mass() -> None:
    assert mix_floor({"a": 0.0, "b": 0.0, "c": 1.0}, {"a": True, "b": True, "c": False}, 0.1) == pytest.approx(
        {"a": 0.5, "b": 0.5, "c": 0.0}
    )


def test_draw_follows_the_probabilities() -> None:
    rng = Random(1)
    drawn = [draw({"never": 0.0, "a": 0.2, "b": 0.8, "nor": 0.0}, rng) for _ in range(20_000)]
    assert drawn.count("a") / len(drawn) == pytest.approx(0.2, abs=0.015)
    assert set(drawn) == {"a", "b"}


class Last(Random):
    def random(self) -> float:
        return 1.0 - 2**-53


def test_draw_never_takes_an_impossible_arm_at_the_last_rounding() -> None:
    assert draw({"a": 0.1, "b": 0.2, "never": 0.0}, Last()) == "b"


def arms(*available: bool) -> tuple[ArmContext, ...]:
    return tuple(
        ArmContext(f"arm{i}", f"tier{i}", "p", "gan", 0.001, 0.1, available=one) for i, one in enumerate(available)
    )


def test_available_arms_are_those_that_are_open() -> None:
    context = Context(extract("a cat"), arms(True, False, True))
    assert [arm.name for arm in available_arms(context)] == ["arm0", "arm2"]


@pytest.mark.parametrize("closed", [(), (False,), (False, False)])
def test_available_arms_raises_where_there_is_none(closed: tuple[bool, ...]) -> None:
    with pytest.raises(NoArmAvailable):
        available_arms(Context(extract("a cat"), arms(*closed)))


def test_decide_by_logs_the_mixed_propensity() -> None:
    context = Context(extract("a cat"), arms(True, True))
    decision = decide_by({"arm0": 1.0, "arm1": 0.0}, context, 0.2, Random(0))
    assert decision.probabilities == pytest.approx({"arm0": 0.9, "arm1": 0.1})
    assert decision.propensity == decision.probabilities[decision.arm]
