import pytest

from replicas.errors import SizeNotPossible
from replicas.starflow.aspect import ASPECTS, aspect_of, sizes

# What the released code's aspect_ratio_to_image_size(256, aspect, multiple=8) returns, at its commit e565a46.
RELEASED_256 = {
    "1:1": (256, 256), "2:3": (312, 208), "3:2": (208, 312), "16:9": (192, 344), "9:16": (344, 192),
    "4:5": (288, 232), "5:4": (232, 288), "21:9": (168, 392), "9:21": (392, 168),
}  # fmt: skip


def test_sizes_are_those_of_the_released_sampler() -> None:
    assert sizes(256, 8, any_aspect=True) == RELEASED_256
    assert tuple(RELEASED_256) == ASPECTS


@pytest.mark.parametrize(("image_px", "multiple_px"), [(256, 8), (512, 16), (64, 8), (16, 16), (640, 16)])
def test_sizes_are_multiples_of_about_the_same_area(image_px: int, multiple_px: int) -> None:
    found = sizes(image_px, multiple_px, any_aspect=True)
    assert found["1:1"] == (image_px, image_px)
    assert len(set(found.values())) == len(found)
    for height_px, width_px in found.values():
        assert height_px % multiple_px == width_px % multiple_px == 0
        assert abs(height_px - image_px**2 / width_px) <= multiple_px * max(height_px, width_px) / width_px


def test_model_with_learned_positions_draws_squares_only() -> None:
    assert sizes(64, 8, any_aspect=False) == {"1:1": (64, 64)}


def test_image_size_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(SizeNotPossible, match="100 px is no multiple of 8 px"):
        sizes(100, 8, any_aspect=True)


def test_aspect_of_a_size_and_of_none() -> None:
    allowed = sizes(256, 8, any_aspect=True)
    assert [aspect_of(*size_px, allowed) for size_px in allowed.values()] == list(allowed)
    with pytest.raises(SizeNotPossible, match=r"height 256 px and width 264 px.*256 x 256 \(1:1\), 312 x 208 \(2:3\)"):
        aspect_of(256, 264, allowed)
