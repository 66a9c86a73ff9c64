"""The embedded latent diffusion model behind the diffusion tier."""

from random import Random

import numpy as np
import pytest
import torch

from replicas.detector import Detector, matches
from replicas.diffusion import DiffusionTier
from replicas.embedded import WEIGHTS, load_module
from replicas.errors import UnknownPreset
from replicas.latent_diffusion import make_scheduler, to_grid
from replicas.scenes.prompts import sample_scene
from replicas.tier import GenerationRequest

PRESETS = {"draft": {"steps": 4, "guidance": 3.0}, "standard": {"steps": 12, "guidance": 3.0}}


@pytest.fixture(scope="module")
def tier() -> DiffusionTier:
    diffusion = DiffusionTier(presets=PRESETS)
    diffusion.load("cpu")
    diffusion.warm_up()
    return diffusion


def test_schedule_ends_in_pure_noise():
    scheduler = make_scheduler()
    assert scheduler.alphas_cumprod[-1] < 1e-6
    assert scheduler.alphas_cumprod[0] > 0.99


def test_to_grid_keeps_rows():
    latents = torch.arange(64 * 16.0).reshape(1, 64, 16)
    assert to_grid(latents)[0, 3, 2, 5] == latents[0, 2 * 8 + 5, 3]


def test_generate_same_seed_same_picture_and_batch_as_alone(tier):
    requests = [GenerationRequest("a cat", 5, "draft"), GenerationRequest("a dog above a tree", 9, "draft")]
    together = tier.generate(requests)
    alone = np.concatenate([tier.generate([request]) for request in requests])
    assert np.abs(together.astype(int) - alone.astype(int)).mean() < 0.5
    assert (tier.generate([GenerationRequest("a cat", 6, "draft")]) != together[:1]).any()


def test_presets_differ(tier):
    draft, standard = (tier.generate([GenerationRequest("a cat", 5, preset)]) for preset in PRESETS)
    assert (draft != standard).any()


def test_trained_weights_draw_single_objects(tier):
    rng = Random(32)
    scenes = [sample_scene(rng, "single", held_out=True) for _ in range(40)]
    pictures = tier.generate([GenerationRequest(scene.caption, i, "standard") for i, scene in enumerate(scenes)])
    seen = load_module(Detector, WEIGHTS / "detector.safetensors").read(pictures)
    assert sum(matches(scene, found) for scene, found in zip(scenes, seen, strict=True)) >= 16


def test_unknown_option_of_the_embedded_model_is_refused():
    with pytest.raises(UnknownPreset, match="diffusion allows: steps, guidance"):
        DiffusionTier(presets={"p": {"eta": 0.5}})
