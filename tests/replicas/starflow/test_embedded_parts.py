import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from replicas.embedded import WEIGHTS
from replicas.errors import ModelNotLoadable, SizeNotPossible
from replicas.starflow.embedded import new_flow
from replicas.starflow.embedded_parts import load_embedded
from replicas.starflow.pipeline import FlowPipeline
from replicas.starflow.presets import options_of
from replicas.training.loop import save_weights

PROMPTS, SEEDS, SIZE_PX = ["a cat", "two dogs"], [1, 2], (64, 64)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> FlowPipeline:
    """The embedded configuration with random weights, and the trained autoencoder."""
    folder = tmp_path_factory.mktemp("weights")
    shutil.copy(WEIGHTS / "autoencoder.safetensors", folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = new_flow()
        for name, parameter in flow.named_parameters():
            if "proj_out" in name:  # zero in a fresh flow, which is the identity then
                torch.nn.init.normal_(parameter, std=0.05)
    save_weights(flow, folder / "flow.safetensors", flow.state_dict())
    return load_embedded("cpu", folder)


@pytest.mark.parametrize("preset", ["draft", "exact"])
def test_batch_draws_what_each_alone_draws(pipeline: FlowPipeline, preset: str) -> None:
    options = options_of(preset, {})
    together = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options).images
    assert (together.dtype, together.shape) == (np.uint8, (2, 64, 64, 3))
    assert (pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options).images == together).all()
    for row in range(2):
        alone = pipeline.draw(PROMPTS[row : row + 1], SEEDS[row : row + 1], SIZE_PX, options).images[0]
        assert np.abs(alone.astype(int) - together[row]).max() <= 1  # rounding of matrix products of another shape


def test_text_and_guidance_change_the_picture(pipeline: FlowPipeline) -> None:
    options = [options_of("draft", {"guidance": guidance}) for guidance in (0.0, 3.0)]
    plain = pipeline.draw(["a cat"], [1], SIZE_PX, options[0]).images
    assert (pipeline.draw(["a dog"], [1], SIZE_PX, options[0]).images != plain).any()
    assert (pipeline.draw(["a cat"], [1], SIZE_PX, options[1]).images != plain).any()


def test_prompt_of_too_many_words_is_noticed(pipeline: FlowPipeline) -> None:
    drawn = pipeline.draw(["a cat", "cat " * 15], SEEDS, SIZE_PX, options_of("draft", {}))
    assert drawn.notices[0] is None
    assert "14 tokens" in str(drawn.notices[1])


def test_only_squares_are_drawn_and_judged(pipeline: FlowPipeline) -> None:
    assert dict(pipeline.sizes_px) == {"1:1": SIZE_PX}
    with pytest.raises(SizeNotPossible):
        pipeline.draw(["a cat"], [1], (48, 88), options_of("draft", {}))
    with pytest.raises(SizeNotPossible, match=r"takes uint8 \[B, 64, 64, 3\]"):
        pipeline.pictures.encode(np.zeros((1, 48, 88, 3), np.uint8))


def test_latents_come_back_from_their_pictures_own_grid(pipeline: FlowPipeline) -> None:
    """A patch's latents say what that patch looks like: only the corner that was painted changes."""
    black, painted = np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.uint8)
    painted[:, :8, 8:16] = 255
    difference = (pipeline.pictures.encode(painted) - pipeline.pictures.encode(black)).abs().sum(1)[0]
    assert difference[0, 1] > 0
    assert difference.count_nonzero() == 1
    decoded = pipeline.pictures.decode(pipeline.pictures.encode(painted))
    assert decoded[0, :8, 8:16].mean() > decoded[0].mean() + 50


def test_likelihood_of_a_picture_depends_on_its_prompt(pipeline: FlowPipeline) -> None:
    images = pipeline.draw(PROMPTS, SEEDS, SIZE_PX, options_of("draft", {})).images
    found = pipeline.log_likelihood(images, PROMPTS, SEEDS)
    assert found.dimensions == 1024
    assert not torch.allclose(found.nats, pipeline.log_likelihood(images, PROMPTS[::-1], SEEDS).nats)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    shutil.copy(WEIGHTS / "gan.safetensors", tmp_path / "flow.safetensors")
    with pytest.raises(ModelNotLoadable, match="not the weights of EmbeddedFlow"):
        load_embedded("cpu", tmp_path)
