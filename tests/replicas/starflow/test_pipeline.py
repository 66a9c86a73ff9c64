import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from replicas.errors import BatchTooLarge, SizeNotPossible
from replicas.seeds import generators, normal
from replicas.starflow.denoise import denoise
from replicas.starflow.likelihood import log_likelihood
from replicas.starflow.loader import Source, load_pipeline
from replicas.starflow.memory import MemoryLimit
from replicas.starflow.parts_memory import PartsFootprint, PictureFootprint
from replicas.starflow.pipeline import FlowPipeline, Habits
from replicas.starflow.presets import options_of
from replicas.starflow.sampling.sample import sample

PROMPTS, SEEDS = ["a cat", "two dogs", "a red hat"], [1, 2, 3]
SIZE_PX = (64, 64)


@pytest.fixture(scope="module")
def pipeline(released_flow_folder: Path, t5_folder: Path, autoencoder_folder: Path) -> FlowPipeline:
    source = Source(str(released_flow_folder), text_encoder=str(t5_folder), autoencoder=str(autoencoder_folder))
    return load_pipeline(source, "cpu")


def test_drawing_is_text_noise_sampler_denoising_and_decoder(pipeline: FlowPipeline) -> None:
    options = options_of("exact", {"guidance": 2.0, "temperature": 0.9})
    drawn = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options)
    assert (drawn.images.dtype, drawn.images.shape, drawn.notices) == (np.uint8, (3, 64, 64, 3), (None, None, None))
    assert pipeline.words is not None
    text, empty = pipeline.words.encode(PROMPTS).states, pipeline.words.encode([""]).states
    noise = 0.9 * normal(generators(SEEDS), (4, 8, 8))
    noisy = sample(pipeline.flow, noise, text, empty, guidance=2.0, settings=options.settings)
    clean = denoise(pipeline.flow, noisy, text, 0.3)
    assert (pipeline.pictures.decode(clean) == drawn.images).all()
    assert (pipeline.pictures.decode(noisy) != drawn.images).any()
    plain = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("exact", {"guidance": 0.0, "denoise": False}))
    unguided = sample(pipeline.flow, normal(generators(SEEDS), (4, 8, 8)), text, settings=options.settings)
    assert (pipeline.pictures.decode(unguided) == plain.images).all()


@pytest.mark.parametrize("preset", ["draft", "standard", "exact"])
def test_same_batch_is_the_same_bits_and_an_item_is_what_it_is_alone(pipeline: FlowPipeline, preset: str) -> None:
    """Alone: within one step of 255, in at most one value of a thousand; matrix products of another batch size round
    otherwise, and nothing else may differ (a rule that stops on the whole batch would)."""
    options = options_of(preset, {})
    together = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options).images
    assert (pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options).images == together).all()
    for row in range(3):
        alone = pipeline.draw(PROMPTS[row : row + 1], SEEDS[row : row + 1], SIZE_PX, options).images[0]
        difference = np.abs(alone.astype(int) - together[row])
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 1e-3


def test_prompt_seed_and_guidance_change_the_picture(pipeline: FlowPipeline) -> None:
    def latents_of(prompt: str, seed: int, guidance: float) -> np.ndarray:
        return pipeline.draw([prompt], [seed], SIZE_PX, options_of("draft", {"guidance": guidance})).images

    reference = latents_of("a cat", 1, 2.0)
    for changed in (latents_of("a dog", 1, 2.0), latents_of("a cat", 2, 2.0), latents_of("a cat", 1, 0.0)):
        assert (changed != reference).any()


def test_guidance_of_the_configuration_is_the_default(pipeline: FlowPipeline) -> None:
    default = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("draft", {})).images
    assert (pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("draft", {"guidance": 2.5})).images == default).all()
    assert (pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("draft", {"guidance": 0.0})).images != default).any()


def test_every_aspect_is_drawn_and_other_sizes_are_refused(pipeline: FlowPipeline) -> None:
    assert pipeline.sizes_px["21:9"] == (40, 96)
    for size_px in pipeline.sizes_px.values():
        drawn = pipeline.draw(["a cat"], [1], size_px, options_of("draft", {"guidance": 0.0}))
        assert drawn.images.shape == (1, *size_px, 3)
    with pytest.raises(SizeNotPossible, match=r"this flow draws.*64 x 64 \(1:1\)"):
        pipeline.draw(["a cat"], [1], (64, 72), options_of("draft", {}))
    with pytest.raises(SizeNotPossible, match="this flow draws"):
        pipeline.log_likelihood(np.zeros((1, 64, 48, 3), np.uint8), ["a cat"], [1])


def test_prompt_longer_than_the_window_is_noticed_but_not_logged(
    pipeline: FlowPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = ["short", "a secret wish that is too long"]
    with caplog.at_level(logging.DEBUG):
        drawn = pipeline.draw(prompts, [1, 2], SIZE_PX, options_of("draft", {}))
    assert drawn.notices[0] is None
    assert "text window of 12 tokens" in str(drawn.notices[1])
    assert "1 of 2 prompts were cut to 12 tokens" in caplog.text
    assert "secret" not in caplog.text + str(drawn.notices)


def test_flow_trained_with_aspects_in_its_prompts_is_told_the_aspect(pipeline: FlowPipeline) -> None:
    habits = Habits(image_px=64, noise_std=0.3, guidance=0.0, denoise=False, any_aspect=True, names_aspect=True)
    telling = FlowPipeline(pipeline.flow, pipeline.words, pipeline.pictures, habits, pipeline.memory)
    assert telling._worded("a cat", "16:9") == "a cat\n in a 16:9 aspect ratio.\n"
    drawn = telling.draw(["cat"], [1], SIZE_PX, options_of("draft", {}))
    options = options_of("draft", {"guidance": 0.0, "denoise": False})
    told = pipeline.draw(["cat\n in a 1:1 aspect ratio.\n"], [1], SIZE_PX, options)
    assert (drawn.images == told.images).all()
    assert (drawn.images != pipeline.draw(["cat"], [1], SIZE_PX, options).images).any()


def test_likelihood_of_pictures_is_that_of_their_latents_with_noise_by_seed(pipeline: FlowPipeline) -> None:
    images = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("draft", {})).images
    found = pipeline.log_likelihood(images, PROMPTS, SEEDS)
    assert pipeline.words is not None
    noisy = pipeline.pictures.encode(images) + 0.3 * normal(generators(SEEDS), (4, 8, 8))
    expected = log_likelihood(pipeline.flow, noisy, pipeline.words.encode(PROMPTS).states)
    torch.testing.assert_close(found.nats, expected.nats, rtol=1e-6, atol=1e-3)
    assert found.dimensions == 4 * 8 * 8
    alone = pipeline.log_likelihood(images[1:2], PROMPTS[1:2], SEEDS[1:2])
    assert torch.equal(alone.nats, found.nats[1:2])
    assert not torch.allclose(pipeline.log_likelihood(images, PROMPTS[::-1], SEEDS).nats, found.nats)
    with pytest.raises(ValueError, match="give at least one"):
        pipeline.log_likelihood(images[:0], [], [])
    with pytest.raises(ValueError, match="3 images, 2 prompts and 3 seeds"):
        pipeline.log_likelihood(images, PROMPTS[:2], SEEDS)


def test_batch_that_would_not_fit_is_refused_and_smaller_ones_are_drawn(pipeline: FlowPipeline) -> None:
    limited = FlowPipeline(
        pipeline.flow, pipeline.words, pipeline.pictures, pipeline.habits,
        MemoryLimit(pipeline.device, limit_gib=0.011, held_bytes=pipeline.memory.held_bytes),
    )  # fmt: skip
    options = options_of("exact", {})
    count = 64
    with pytest.raises(BatchTooLarge, match=r"64 pictures of 64 x 64 px would need 0\.\d+ GiB.*draw fewer at once"):
        limited.draw(["a cat"] * count, list(range(count)), SIZE_PX, options)
    assert limited.draw(["a cat"], [1], SIZE_PX, options).images.shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried"),
        MemoryError("Unable to allocate 8 GiB"),
    ],
)
def test_memory_that_runs_out_all_the_same_is_a_refused_batch(
    pipeline: FlowPipeline, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Another process may take what was free when the batch was checked."""

    def full(given: object) -> np.ndarray:
        raise error

    monkeypatch.setattr(pipeline.pictures, "decode", full)
    monkeypatch.setattr(pipeline.pictures, "encode", full)
    with pytest.raises(BatchTooLarge, match=r"cpu ran out of memory at 1 pictures.*predicted to need"):
        pipeline.draw(["a cat"], [1], SIZE_PX, options_of("draft", {}))
    with pytest.raises(BatchTooLarge, match=r"cpu ran out of memory at the likelihood of 1 pictures"):
        pipeline.log_likelihood(np.zeros((1, 64, 64, 3), np.uint8), ["a cat"], [1])


def test_other_faults_of_torch_are_no_lack_of_memory(pipeline: FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(latents: torch.Tensor) -> np.ndarray:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(pipeline.pictures, "decode", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        pipeline.draw(["a cat"], [1], SIZE_PX, options_of("draft", {}))


def test_decoder_and_encoder_count_towards_what_a_batch_needs(pipeline: FlowPipeline) -> None:
    """A flow that fits beside parts that do not: nothing is computed."""
    parts = PartsFootprint(pictures=PictureFootprint((128, 256, 512, 512), 4))
    free = MemoryLimit(pipeline.device, limit_gib=0.011)
    limited = FlowPipeline(pipeline.flow, pipeline.words, pipeline.pictures, pipeline.habits, free, parts)
    with pytest.raises(BatchTooLarge, match=r"1 pictures of 64 x 64 px would need 0\.0\d+ GiB"):
        limited.draw(["a cat"], [1], SIZE_PX, options_of("draft", {}))
    images = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(BatchTooLarge, match=r"the likelihood of 1 pictures of 64 x 64 px would need 0\.01\d GiB"):
        FlowPipeline(
            pipeline.flow, pipeline.words, pipeline.pictures, pipeline.habits,
            MemoryLimit(pipeline.device, limit_gib=0.009), parts,
        ).log_likelihood(images, ["a cat"], [1])  # fmt: skip
    unlimited = FlowPipeline(pipeline.flow, pipeline.words, pipeline.pictures, pipeline.habits, free)
    assert unlimited.log_likelihood(images, ["a cat"], [1]).nats.shape == (1,)


def test_one_text_or_one_image_in_place_of_a_list_is_refused(pipeline: FlowPipeline) -> None:
    images = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="prompts is one text; give a list"):
        pipeline.log_likelihood(images, "a", [1])
    with pytest.raises(ValueError, match=r"images have shape \(64, 64, 3\); give \[B, H, W, 3\]"):
        pipeline.log_likelihood(images[0], ["a cat"] * 64, [1] * 64)
