"""When a reward that is missing is no matter of chance."""

from __future__ import annotations

import pytest

from bandit.evaluation.missing import Drawn, missing_doubt, missing_refusal


@pytest.mark.parametrize(
    ("missing", "doubt", "refusal"),
    [
        ((0, 0), False, False),
        ((30, 40), False, False),  # 3 and 4 %
        ((20, 90), True, False),
        ((60, 400), True, False),  # 6 and 40 %: many, but both lose some
        ((20, 300), False, True),
    ],
)
def test_shares_that_differ_are_told_and_gross_ones_refused(
    missing: tuple[int, int], doubt: bool, refusal: bool
) -> None:
    drawn = {name: Drawn(1000, missing=count) for name, count in zip("ab", missing, strict=True)}
    assert (missing_doubt(drawn) is not None) == doubt
    assert (missing_refusal(drawn) is not None) == refusal
    if refusal:
        assert "30% of the 1000 rounds that drew b have no reward" in str(missing_refusal(drawn))


def test_few_rounds_of_an_arm_say_nothing() -> None:
    assert missing_refusal({"a": Drawn(1000), "b": Drawn(29, missing=20)}) is None
    assert missing_refusal({"a": Drawn(30, missing=1), "b": Drawn(30, missing=7)}) is None, "may be chance"
    assert missing_refusal({"b": Drawn(1000, missing=900)}) is None
    assert missing_doubt({}) is None


def test_rounds_are_counted_one_by_one() -> None:
    drawn = Drawn().one_more(not_served=True, missing=False).one_more(not_served=False, missing=True)
    assert drawn == Drawn(2, 1, 1)
    assert drawn.share == 0.5
    assert Drawn().share == 0.0
