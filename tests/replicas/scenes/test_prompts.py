"""Captions ask for what the layout shows, and what is held out is never drawn for training."""

import re
from collections import Counter
from random import Random

import pytest

from replicas.scenes.prompts import KINDS, Asked, sample_scene
from replicas.scenes.vocabulary import BACKGROUNDS, COUNT_WORDS, OBJECTS, words


def combination(scene):
    indices = tuple(placed.index for placed in scene.objects)
    if scene.kind == "single":
        return scene.caption
    if scene.kind == "background":
        return (*indices, scene.background)
    if scene.kind == "count":
        return (indices[0], len(indices))
    return tuple(sorted(indices))


@pytest.mark.parametrize("kind", KINDS)
def test_sample_scene_held_out_combinations_never_in_training(kind):
    rng = Random(3)
    training = {combination(sample_scene(rng, kind)) for _ in range(1500)}
    held_out = {combination(sample_scene(rng, kind, held_out=True)) for _ in range(300)}
    assert held_out
    assert not training & held_out


def test_pairs_held_out_are_the_same_for_two_objects_and_relations():
    assert all(
        Asked("two", (a, b)).held_out("") == Asked("relation", (b, a), relation="left").held_out("")
        for a in range(12)
        for b in range(12)
        if a != b
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sample_scene_every_word_is_in_the_vocabulary(kind):
    rng = Random(4)
    known = set(words())
    for _ in range(400):
        caption = sample_scene(rng, kind).caption
        found = re.findall(r"[a-z0-9]+", caption.lower())
        assert set(found) <= known
        assert 1 <= len(found) <= 14


def test_sample_scene_caption_names_what_is_shown():
    rng = Random(5)
    for _ in range(400):
        scene = sample_scene(rng)
        counted = Counter(placed.index for placed in scene.objects)
        for index in counted:
            thing = OBJECTS[index]
            assert any(word in scene.caption.split() for word in (thing.word, thing.plural, *thing.synonyms)) or any(
                word in scene.caption.replace(",", "").split() for word in (thing.word, *thing.synonyms)
            )
        if scene.kind == "count":
            assert any(word in scene.caption.split() for word in COUNT_WORDS[len(scene.objects)])
        if scene.kind == "background":
            assert BACKGROUNDS[scene.background][0] in scene.caption


def test_relation_holds_in_the_layout():
    rng = Random(6)
    for _ in range(200):
        scene = sample_scene(rng, "relation")
        a, b = scene.objects
        holds = {"left": a.x_px < b.x_px, "right": a.x_px > b.x_px, "above": a.y_px < b.y_px, "below": a.y_px > b.y_px}
        assert scene.relation is not None
        assert holds[scene.relation]


def test_objects_never_overlap_and_stay_inside():
    rng = Random(7)
    for _ in range(300):
        taken = set()
        for placed in sample_scene(rng).objects:
            cells = {
                (x, y)
                for x in range(placed.x_px, placed.x_px + placed.size_px)
                for y in range(placed.y_px, placed.y_px + placed.size_px)
            }
            assert max(max(cell) for cell in cells) < 64
            assert not cells & taken
            taken |= cells
