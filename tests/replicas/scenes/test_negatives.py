"""A wrong caption must be wrong of the scene, by the same rule that the check uses."""

from random import Random

import pytest

from replicas.detector import matches
from replicas.scenes.negatives import negative
from replicas.scenes.prompts import KINDS, Placed, Scene, sample_scene
from replicas.training.scorer import truth


def as_scene(wrong, words):
    places = tuple(Placed(index, 0, 0, 0) for index in wrong.indices)
    return Scene(wrong.kind, words, wrong.background, places, wrong.relation)


@pytest.mark.parametrize("attribute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_negative_is_never_true_of_the_scene(kind, attribute):
    rng = Random(8)
    for _ in range(300):
        scene = sample_scene(rng, kind)
        assert matches(scene, truth(scene))
        assert not matches(as_scene(*negative(rng, scene, attribute)), truth(scene))
