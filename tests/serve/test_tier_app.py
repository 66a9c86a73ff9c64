"""A replica's batch is split into what its tier can draw together: one preset, one size."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from replicas.fake import FakeTier
from serve.tier_app import Drawn, TierReplica, Work


class WideTier(FakeTier):
    """Draws squares of 64 px and pictures twice as wide as high."""

    def __init__(self) -> None:
        super().__init__(presets={"fast": {}})
        self.batches: list[list[tuple[int, int]]] = []

    def size_for(self, height_px, width_px):
        if height_px == 13:
            raise ValueError("unlucky")
        return (48, 96) if width_px > 1.4 * height_px else (64, 64)

    def generate(self, requests):
        self.batches.append([(request.height_px, request.width_px) for request in requests])
        (height_px, width_px) = self.batches[-1][0]
        if requests[0].prompt == "bad":
            raise RuntimeError("no")
        return np.zeros((len(requests), height_px, width_px, 3), np.uint8)


@pytest.fixture
def replica():
    made = object.__new__(TierReplica)  # its own __init__ asks Ray Serve which replica it is
    made._tier, made._replica_id, made._worker = WideTier(), "r1", None
    made._tier.load("cpu")
    yield made
    del made._tier  # so that __del__ has nothing to shut down


def size_of(drawn: Drawn) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(drawn.file_base64))).size


def test_each_image_is_drawn_in_the_shape_nearest_to_what_was_asked(replica):
    works = [
        Work("a", 1, "fast", (100, 200)),
        Work("b", 2, "fast", (128, 128)),
        Work("c", 3, "fast", (10, 40)),
        Work("d", 4, "fast"),
    ]
    drawn = replica._draw_now(works)
    assert replica._tier.batches == [[(48, 96), (48, 96)], [(64, 64), (64, 64)]]
    assert [image.native_size_px for image in drawn] == [(48, 96), (64, 64), (48, 96), (64, 64)]
    assert [size_of(image) for image in drawn] == [(200, 100), (128, 128), (40, 10), (64, 64)]


def test_a_size_that_fails_does_not_fail_the_others_of_its_batch(replica):
    drawn = replica._draw_now([Work("bad", 1, "fast", (100, 200)), Work("b", 2, "fast", (128, 128))])
    assert str(drawn[0]) == "RuntimeError: no"
    replica._tier.notices = lambda: ["one too many"] * 3
    assert str(replica._draw_now([Work("b", 2, "fast")])[0]) == "ValueError: 1 images and 3 notices for 1 requests"
    del replica._tier.notices
    drawn = replica._draw_now([Work("a", 1, "fast", (13, 13)), Work("b", 2, "fast", (128, 128))])
    assert str(drawn[0]) == "ValueError: unlucky"
    assert size_of(drawn[1]) == (128, 128)


def test_what_a_tier_has_to_say_of_an_image_stays_with_it(replica):
    replica._tier.notices = lambda: [
        "the prompt was cut" if height == 48 else None for height, _ in replica._tier.batches[-1]
    ]
    drawn = replica._draw_now([Work("a", 1, "fast", (128, 128)), Work("b", 2, "fast", (100, 200))])
    assert [image.notice for image in drawn] == [None, "the prompt was cut"]
