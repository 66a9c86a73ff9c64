"""The small tier: one pass, blind to word order, good at single objects."""

from random import Random

import numpy as np
import pytest
import torch

from replicas.detector import Detector, matches
from replicas.embedded import WEIGHTS, load_module
from replicas.errors import UnknownPreset
from replicas.gan import NOISE_VALUES, GanTier, new_generator
from replicas.scenes.prompts import sample_scene
from replicas.text import WordTokenizer
from replicas.tier import GenerationRequest


@pytest.fixture(scope="module")
def tier() -> GanTier:
    gan = GanTier(presets={"fast": {}})
    gan.load("cpu")
    gan.warm_up()
    return gan


def test_generator_ignores_word_order():
    torch.manual_seed(0)
    generator, noise = new_generator().eval(), torch.randn(2, NOISE_VALUES)
    with torch.no_grad():
        one, other = generator(noise[:1].expand(2, -1), WordTokenizer()(["a cat above a dog", "a dog above a cat"]))
    torch.testing.assert_close(one, other)


def test_generate_same_seed_same_picture_and_batch_as_alone(tier):
    requests = [GenerationRequest("a cat", 5, "fast"), GenerationRequest("a red rocket", 2**40, "fast")]
    together = tier.generate(requests)
    assert together.shape == (2, 64, 64, 3)
    assert together.dtype == np.uint8
    alone = np.concatenate([tier.generate([request]) for request in requests])
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 2
    assert (tier.generate([GenerationRequest("a cat", 6, "fast")]) != together[:1]).any()


def test_generate_any_prompt_draws_something(tier):
    for prompt in ("", "?!", "zxqv " * 500, "\u202eabc", "two\ncats"):
        assert tier.generate([GenerationRequest(prompt, 0, "fast")]).std() > 0


def test_trained_weights_draw_single_objects(tier):
    rng = Random(31)
    scenes = [sample_scene(rng, "single", held_out=True) for _ in range(40)]
    pictures = tier.generate([GenerationRequest(scene.caption, i, "fast") for i, scene in enumerate(scenes)])
    seen = load_module(Detector, WEIGHTS / "detector.safetensors").read(pictures)
    assert sum(matches(scene, found) for scene, found in zip(scenes, seen, strict=True)) >= 16


def test_unknown_option_is_refused():
    with pytest.raises(UnknownPreset, match="gan allows: truncation"):
        GanTier(presets={"fast": {"steps": 4}})
