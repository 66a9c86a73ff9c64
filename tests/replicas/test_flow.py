"""The flow tier with a released checkpoint. `starflow/` tests its parts, and the flow of this tree."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replicas.errors import BatchTooLarge, ModelNotLoadable, NotLoaded, SizeNotPossible, UnknownPreset
from replicas.flow import FlowTier
from replicas.loading import build_tier
from replicas.tier import GenerationRequest


@pytest.fixture(scope="module")
def options(released_flow_folder: Path, t5_folder: Path, autoencoder_folder: Path) -> dict[str, Any]:
    return {
        "model": str(released_flow_folder),
        "text_encoder": str(t5_folder),
        "autoencoder": str(autoencoder_folder),
    }


@pytest.fixture(scope="module")
def tier(options: dict[str, Any]) -> FlowTier:
    tier = FlowTier(**options)
    tier.load("cpu")
    tier.warm_up()
    return tier


def request(prompt: str = "a cat", seed: int = 1, preset: str = "draft", size_px: tuple[int, int] = (64, 64)) -> Any:
    return GenerationRequest(prompt, seed, preset, *size_px)


def test_released_flow_draws_its_aspects_by_three_presets(tier: FlowTier) -> None:
    assert tier.native_size_px == (64, 64)
    assert set(tier.presets) == {"draft", "standard", "exact"}
    images = tier.generate([request("a cat", 1), request("a dog", 2)])
    assert (images.dtype, images.shape) == (np.uint8, (2, 64, 64, 3))
    assert (images[0] != images[1]).any()
    assert tier.generate([request(size_px=tier.sizes_px["16:9"])]).shape == (1, 48, 88, 3)
    with pytest.raises(SizeNotPossible, match="this flow draws"):
        tier.generate([request(size_px=(128, 128))])


def test_size_for_is_the_nearest_shape(tier: FlowTier) -> None:
    assert tier.size_for(512, 512) == (64, 64)
    assert tier.size_for(1080, 1920) == tier.sizes_px["16:9"]
    assert tier.size_for(1920, 1080) == tier.sizes_px["9:16"]
    assert tier.size_for(64, 6400) == tier.sizes_px["21:9"]
    assert FlowTier().size_for(1080, 1920) == (64, 64)


def test_notices_are_those_of_the_last_batch(tier: FlowTier) -> None:
    tier.generate([request("short"), request("longer than the window")])
    first, second = tier.notices()
    assert first is None
    assert "text window of 12 tokens" in str(second)
    tier.generate([request("short")])
    assert tuple(tier.notices()) == (None,)
    with pytest.raises(SizeNotPossible):
        tier.generate([request("longer than the window", size_px=(8, 8))])
    assert tuple(tier.notices()) == ()


def test_presets_take_new_options_between_batches(options: dict[str, Any], tier: FlowTier) -> None:
    before = tier.presets
    try:
        tier.presets = {"mine": {"sampler": "draft", "guidance": 0, "denoise": False}}
        assert tier.generate([request(preset="mine")]).shape == (1, 64, 64, 3)
        for bad, expected in (({"guidance": -0.5}, "guidance is -0.5; allowed"), ({"steps": 3}, "allows: guidance, ")):
            with pytest.raises(UnknownPreset, match=expected):
                tier.presets = {"mine": bad}
            with pytest.raises(UnknownPreset, match=expected):
                FlowTier(**options, presets={"mine": bad})
        with pytest.raises(UnknownPreset, match="preset 'draft' is unknown"):
            tier.generate([request()])
    finally:
        tier.presets = before


def test_log_likelihood_knows_what_the_flow_drew_from_noise(tier: FlowTier) -> None:
    images = tier.generate([request("a cat", 1), request("a dog", 2)])
    found = tier.log_likelihood(images, ["a cat", "a dog"])
    assert found.nats.shape == (2,)
    assert np.isfinite(found.bits_per_dimension.numpy()).all()
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    assert not np.allclose(tier.log_likelihood(noise, ["a cat", "a dog"]).nats, found.nats)
    assert not np.allclose(tier.log_likelihood(images, ["a cat", "a dog"], seeds=[1, 2]).nats, found.nats)


def test_batch_too_large_is_refused_and_the_replica_lives_on(options: dict[str, Any]) -> None:
    tier = FlowTier(**options, memory_gib=0.011)
    tier.load("cpu")
    with pytest.raises(BatchTooLarge, match=r"100 pictures of 64 x 64 px would need 0\.\d+ GiB beside the weights"):
        tier.generate([request(seed=seed, preset="exact") for seed in range(100)])
    assert tier.generate([request(preset="exact")]).shape == (1, 64, 64, 3)


def test_not_loaded_or_closed_says_so(options: dict[str, Any]) -> None:
    tier = FlowTier(**options)
    for call in (lambda: tier.generate([request()]), tier.warm_up, lambda: tier.sizes_px):
        with pytest.raises(NotLoaded, match="call load"):
            call()
    tier.load("cpu")
    tier.close()
    tier.close()
    with pytest.raises(NotLoaded, match="call load"):
        tier.generate([request()])
    tier.load("cpu")
    assert tier.generate([request()]).shape == (1, 64, 64, 3)


def test_options_without_a_model_or_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ModelNotLoadable, match="are for a given model"):
        FlowTier(text_encoder="/models/t5")
    with pytest.raises(ModelNotLoadable, match="are for a given model"):
        FlowTier(dtype="bfloat16")
    for amount in (-1, 0, float("nan"), "8", True):
        with pytest.raises(ModelNotLoadable, match=f"memory_gib is {amount!r}; allowed: None or a number above 0"):
            FlowTier(**options, memory_gib=amount)
    with pytest.raises(ModelNotLoadable, match="dtype 'int4' is unknown"):
        FlowTier(**options, dtype="int4")
    assert isinstance(build_tier("replicas.flow:FlowTier", **options, dtype="bfloat16"), FlowTier)


def test_half_precision_draws_nearly_the_same_picture(options: dict[str, Any], tier: FlowTier) -> None:
    half = FlowTier(**options, dtype="bfloat16", text_encoder_dtype="bfloat16")
    half.load("cpu")
    difference = np.abs(half.generate([request(preset="exact")]).astype(int) - tier.generate([request(preset="exact")]))
    assert 0 < difference.mean() < 8


def test_prompts_are_never_logged(tier: FlowTier, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        tier.generate([request("a secret wish that does not fit")])
        tier.log_likelihood(np.zeros((1, 64, 64, 3), np.uint8), ["a secret wish that does not fit"])
    assert "secret" not in caplog.text


def test_flow_of_this_tree_draws_and_knows_how_likely_its_pictures_are() -> None:
    tier = FlowTier(presets={"standard": {"guidance": 1.0}})
    tier.load("cpu")
    images = tier.generate([request("a cat", 3, "standard"), request("two dogs", 4, "standard")])
    assert images.shape == (2, *tier.native_size_px, 3)
    likely = tier.log_likelihood(images, ["a cat", "two dogs"]).nats
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    assert (likely > tier.log_likelihood(noise, ["a cat", "two dogs"]).nats).all()
    tier.close()
