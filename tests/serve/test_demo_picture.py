from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from serve.demo_origin import Origin, origin
from serve.demo_picture import SIZE_PX, draw_picture, headline, spread
from serve.demo_references import Comparison, Interval, compare, measured

ORIGIN = Origin("2 cores of a test", "2026-01-01 00:00 UTC", "abc1234567")


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == SIZE_PX
        return {colour for _, colour in picture.convert("RGB").getcolors(2**24)}


def test_picture_is_a_png_of_its_size_with_every_arm_in_its_colour(demo_rows, demo_arms, tmp_path) -> None:
    rows = demo_rows(100, 30)
    found = measured(rows, demo_arms)
    comparison = compare(found, seed=0, resamples=200)
    draw_picture(tmp_path / "demo.png", rows, demo_arms, comparison, found.numbers, ORIGIN, "seed 0")
    assert {(230, 159, 0), (86, 180, 233), (0, 114, 178), (204, 121, 167)} <= colours_of(tmp_path / "demo.png")


@pytest.mark.parametrize("count", [1, 7])
def test_picture_of_a_run_that_was_cut_short(demo_rows, demo_arms, tmp_path, count: int) -> None:
    rows = [replace(row, quality=None, utility=None, right=None) for row in demo_rows(count, 0)]
    draw_picture(tmp_path / "demo.png", rows, demo_arms, None, (), ORIGIN, "PARTIAL")
    assert len(colours_of(tmp_path / "demo.png")) > 10


def comparison_of(fixed: Interval, uniform: Interval) -> Comparison:
    return Comparison(
        prompts=50,
        left_out=0,
        best_fixed="a@b",
        utility={},
        router_minus={"a@b": fixed, "uniform": uniform, "oracle": Interval(-0.2, -0.3, -0.1)},
    )


@pytest.mark.parametrize(
    ("fixed", "uniform", "title"),
    [
        ((0.04, 0.01, 0.07), (0.2, 0.1, 0.3), "beats an even choice by 0.20 and beats the best single arm by 0.040"),
        ((0.04, -0.01, 0.09), (0.1, -0.1, 0.3), "not clearly apart from an even choice and cannot be told from"),
        ((-0.1, -0.2, -0.05), (-0.3, -0.4, -0.2), "loses 0.30 to an even choice and loses 0.10 to the best single arm"),
    ],
)
def test_headline_claims_only_what_its_intervals_show(fixed, uniform, title: str) -> None:
    said, numbers = headline(comparison_of(Interval(*fixed), Interval(*uniform)))
    assert title in said
    assert "50 prompts" in numbers
    assert "oracle −0.200 [−0.300, −0.100]" in numbers


def test_headline_without_references_claims_nothing() -> None:
    assert headline(None)[0] == "What the router chose"


def test_spread_keeps_order_and_distance() -> None:
    values = [0.5, 0.1, 0.51, 0.52, 0.9]
    placed = spread(values, 0.1)
    ordered = sorted(placed)
    assert all(after - before >= 0.1 - 1e-9 for before, after in pairwise(ordered))
    assert sorted(range(5), key=lambda i: placed[i]) == sorted(range(5), key=lambda i: values[i])
    assert spread([0.1, 0.9], 0.1) == [0.1, 0.9]


def test_origin_names_machine_date_and_commit() -> None:
    made = origin()
    assert "cores of" in made.machine
    assert made.date.endswith(" UTC")
    assert made.commit
