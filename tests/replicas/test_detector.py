"""The independent check reads originals right, and its rule of matching is strict."""

from random import Random

import pytest

from replicas.detector import Detector, Seen, has_objects, matches
from replicas.embedded import WEIGHTS, load_module
from replicas.scenes.prompts import KINDS, Placed, Scene, sample_scene
from replicas.scenes.render import render_many

CAT_LEFT_OF_DOG = Scene("relation", "", 0, (Placed(6, 0, 0, 24), Placed(7, 32, 0, 24)), "left")


@pytest.mark.parametrize("kind", KINDS)
def test_detector_reads_held_out_originals(kind):
    rng = Random(9)
    scenes = [sample_scene(rng, kind, held_out=True) for _ in range(60)]
    seen = load_module(Detector, WEIGHTS / "detector.safetensors").read(render_many(scenes))
    assert sum(matches(scene, found) for scene, found in zip(scenes, seen, strict=True)) >= 52


def test_matches_relation_count_and_background():
    assert matches(CAT_LEFT_OF_DOG, Seen(((6, 1, 1), (7, 1, 5)), 0))
    assert not matches(CAT_LEFT_OF_DOG, Seen(((6, 1, 5), (7, 1, 1)), 0))
    assert not matches(CAT_LEFT_OF_DOG, Seen(((6, 1, 1), (7, 1, 5), (7, 5, 5)), 0))
    blue = Scene("background", "", 6, (Placed(6, 8, 8, 40),))
    assert matches(blue, Seen(((6, 3, 3),), 6))
    assert not matches(blue, Seen(((6, 3, 3),), 5))


def test_has_objects_ignores_number_and_place():
    assert has_objects(CAT_LEFT_OF_DOG, Seen(((7, 1, 1), (6, 1, 5), (6, 5, 5)), 0))
    assert not has_objects(CAT_LEFT_OF_DOG, Seen(((7, 1, 1),), 0))
