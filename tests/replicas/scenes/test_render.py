"""Pixels of a scene: background where nothing stands, sprites where something does."""

from random import Random

import numpy as np

from replicas.scenes.prompts import Placed, Scene, sample_scene
from replicas.scenes.render import object_map, render, render_many
from replicas.scenes.vocabulary import BACKGROUNDS, OBJECTS


def test_render_background_colour_outside_objects():
    scene = Scene("background", "", 6, (Placed(0, 8, 8, 40),))
    picture = render(scene)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert (picture[60:, 60:] == BACKGROUNDS[6][1]).all()
    assert (picture[8:48, 8:48] != BACKGROUNDS[6][1]).any()


def test_render_every_object_looks_different():
    pictures = [render(Scene("single", "", 0, (Placed(i, 8, 8, 40),))) for i in range(len(OBJECTS))]
    for i, one in enumerate(pictures):
        assert all((one != other).mean() > 0.05 for other in pictures[i + 1 :])


def test_object_map_marks_the_cell_of_each_centre():
    cells = object_map(Scene("two", "", 0, (Placed(3, 0, 32, 24), Placed(5, 40, 8, 24))))
    assert cells[5, 1] == 4
    assert cells[2, 6] == 6
    assert (cells > 0).sum() == 2


def test_render_many_stacks_in_order():
    rng = Random(1)
    scenes = [sample_scene(rng) for _ in range(3)]
    assert (render_many(scenes)[2] == render(scenes[2])).all()
