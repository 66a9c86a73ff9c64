"""Pieces of the interval, and how few of them move."""

from random import Random

import pytest

from bandit.experiments.shares import TICKS, free_of, holds, point, reshared, size, ticks_of

ALL = ((0, TICKS),)


def moved(before: dict, after: dict) -> int:  # type: ignore[type-arg]
    stays = 0
    for name, pieces in before.items():
        for start, end in pieces:
            for other_start, other_end in after.get(name, ()):
                stays += max(0, min(end, other_end) - max(start, other_start))
    return TICKS - stays


def test_points_are_those_of_every_other_machine() -> None:
    assert point("a") == 791_374_270
    assert point("", "exp", "user-1") == 335_208_813
    assert point("ab", "c") != point("a", "bc")


def test_points_are_spread_evenly() -> None:
    tenths = [0] * 10
    for number in range(20_000):
        tenths[point("exp", f"user-{number}") * 10 // TICKS] += 1
    assert all(1800 < count < 2200 for count in tenths)


@pytest.mark.parametrize("weights", [{"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 0.9}])
def test_ticks_add_up_and_are_the_weights(weights: dict[str, float]) -> None:
    ticks = ticks_of(weights)
    assert sum(ticks.values()) == TICKS
    assert all(abs(ticks[name] - weight * TICKS) <= 1 for name, weight in weights.items())


def test_any_change_of_weights_moves_no_more_than_it_must() -> None:
    rng = Random(3)
    shares = reshared({}, ticks_of({"a": 0.5, "b": 0.3, "c": 0.2}), ALL)
    for _ in range(50):
        drawn = [rng.random() + 0.01 for _ in "abc"]
        sizes = ticks_of({name: one / sum(drawn) for name, one in zip("abc", drawn, strict=True)})
        after = reshared(shares, sizes)
        must = sum(max(0, size(shares[name]) - sizes[name]) for name in "abc")
        assert {name: size(pieces) for name, pieces in after.items()} == sizes
        assert moved(shares, after) == must
        assert free_of(after.values()) == ()
        shares = after


def test_share_that_grows_keeps_what_it_had() -> None:
    claim: tuple[tuple[int, int], ...] = ()
    for wanted in (10, 500, TICKS // 2, TICKS):
        grown = reshared({"": claim}, {"": wanted}, free_of([claim]))[""]
        assert all(holds(grown, tick) for start, end in claim for tick in (start, end - 1))
        assert size(grown) == wanted
        claim = grown


def test_free_is_what_nobody_has() -> None:
    assert free_of([]) == ALL
    assert free_of([((10, 20), (0, 5)), ((20, 30),)]) == ((5, 10), (30, TICKS))


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="wants 11"):
        reshared({}, {"a": 11}, ((0, 10),))
