"""Training a flow of any size on captioned pictures: the command runs, resumes, and what it writes can be loaded."""

import shutil
import signal
import sys
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from replicas.embedded import WEIGHTS, load_module
from replicas.errors import ModelNotLoadable
from replicas.starflow.aspect import with_aspect
from replicas.starflow.checkpoint import load_flow
from replicas.starflow.embedded import EmbeddedFlow, embedded_config
from replicas.starflow.latents import ImageAutoencoder
from replicas.starflow.release import read_release
from replicas.starflow.text import TextEncoder
from replicas.training import flow as command
from replicas.training.pictures import Pictures

RELEASE = """arguments:
- img_size: 32
- txt_size: 8
- channel_size: 4
- patch_size: 1
- channels: 32
- head_dim: 32
- layers_per_block: 1 1
- rope: 1
- sos: 1
- use_softplus: 1
- cond_top_only: 1
- mix_aspect: 1
- vae: tiny
- text: tiny
"""


@pytest.fixture(autouse=True)
def restored_signal_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def photos(tmp_path):
    """Two wide pictures, one square one, one without a caption."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (40, 80)), ("b", (30, 64)), ("c", (50, 50)), ("bare", (32, 32))):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        if name != "bare":
            (folder / f"{name}.txt").write_text(f"picture {name}\n")
    return folder


@pytest.fixture
def release_path(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RELEASE)
    return path


def encoders(autoencoder_folder, t5_folder):
    autoencoder, text = ImageAutoencoder(str(autoencoder_folder)), TextEncoder(str(t5_folder), window=8)
    autoencoder.load()
    text.load()
    return autoencoder, text


def test_batches_are_of_one_size_near_the_pictures_own_shape(photos, release_path, autoencoder_folder, t5_folder):
    release = read_release(release_path, text_width=24)
    pictures = Pictures(photos, release, *encoders(autoencoder_folder, t5_folder))
    seen = [pictures.batch(2, 0.5, Random(seed)) for seed in range(12)]
    assert {tuple(latents.shape) for latents, _ in seen} == {(2, 4, 4, 4), (2, 4, 3, 6)}
    assert {tuple(states.shape) for _, states in seen} == {(2, 8, 24)}
    again = pictures.batch(2, 0.5, Random(3))
    assert all(torch.equal(one, other) for one, other in zip(seen[3], again, strict=True))


def test_without_mixed_aspects_all_are_squares(photos, release_path, autoencoder_folder, t5_folder):
    release_path.write_text(RELEASE.replace("mix_aspect: 1", "mix_aspect: 0"))
    autoencoder, text = encoders(autoencoder_folder, t5_folder)
    pictures = Pictures(photos, read_release(release_path, text_width=24), autoencoder, text)
    latents, states = pictures.batch(2, 1.0, Random(0))
    assert latents.shape == (2, 4, 4, 4)
    assert torch.equal(states[0], text.encode([""]).states[0])


def test_dropped_text_is_the_empty_prompt(photos, release_path, autoencoder_folder, t5_folder):
    autoencoder, text = encoders(autoencoder_folder, t5_folder)
    (photos / "a.txt").unlink()
    (photos / "b.txt").unlink()
    pictures = Pictures(photos, read_release(release_path, text_width=24), autoencoder, text)
    empty = text.encode([with_aspect("", "1:1")]).states[0]
    always, never = (pictures.batch(3, share, Random(1))[1] for share in (1.0, 0.0))
    assert all(torch.equal(row, empty) for row in always)
    assert not any(torch.equal(row, empty) for row in never)


def test_a_folder_without_captioned_pictures_says_so(tmp_path, release_path, autoencoder_folder, t5_folder):
    with pytest.raises(ModelNotLoadable, match=r"holds no picture .* give a.jpg and a.txt"):
        Pictures(tmp_path, read_release(release_path, text_width=24), *encoders(autoencoder_folder, t5_folder))


def test_encoders_that_do_not_fit_the_configuration_are_refused(photos, release_path, autoencoder_folder, t5_folder):
    with pytest.raises(
        ModelNotLoadable, match="width of the text encoder's states: 24, and the configuration wants 32"
    ):
        Pictures(photos, read_release(release_path, text_width=32), *encoders(autoencoder_folder, t5_folder))


@pytest.fixture
def train(monkeypatch):
    """Runs the command with these options, stopped after `stop_after` steps."""

    def run(stop_after, **options):
        class Stopped(command.Run):
            def train(self, loss_of_step, on_checkpoint):
                def step(number):
                    self.stopping = number + 1 >= stop_after
                    return loss_of_step(number)

                super().train(step, on_checkpoint)

        given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        monkeypatch.setattr(command, "Run", Stopped)
        monkeypatch.setattr(sys, "argv", ["flow", "--no-compile", *given])
        threads = torch.get_num_threads()
        try:
            command.main()
        finally:
            torch.set_num_threads(threads)
            monkeypatch.undo()

    return run


def test_the_command_resumes_where_it_stopped_and_writes_what_can_be_loaded(
    photos, release_path, autoencoder_folder, t5_folder, tmp_path, train, capsys
):
    options = {
        "release": release_path, "pictures": photos, "autoencoder": autoencoder_folder, "text_encoder": t5_folder,
        "batch": 2, "steps": 4,
    }  # fmt: skip
    train(4, **options, runs=tmp_path / "whole", weights=tmp_path / "whole")
    train(2, **options, runs=tmp_path / "parts", weights=tmp_path / "parts")
    train(4, **options, runs=tmp_path / "parts", weights=tmp_path / "parts")
    assert "resumed at step 2" in capsys.readouterr().out
    release = read_release(tmp_path / "whole" / "tiny.yaml", text_width=24)
    whole, parts = (load_flow(release.config, tmp_path / run / "flow.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), parts.parameters(), strict=True))
    assert any(value.abs().max() > 0 for name, value in whole.named_parameters() if name.endswith("proj_out.weight"))
    assert whole(torch.randn(1, 4, 4, 4), torch.zeros(1, 8, 24)).z.isfinite().all()


def test_a_flow_over_pixels_without_text_is_trained_too(photos, release_path, tmp_path, train):
    """Its configuration may lie in the folder that the weights go to."""
    changes = {
        "vae: tiny": "cfg: 0",
        "text: tiny": "lr: 1",
        "txt_size: 8": "txt_size: 0",
        "channel_size: 4": "channel_size: 3",
    }
    text = RELEASE.replace("- cond_top_only: 1\n", "").replace("patch_size: 1", "patch_size: 4")
    for one, other in changes.items():
        text = text.replace(one, other)
    release_path.write_text(text)
    train(1, release=release_path, pictures=photos, batch=2, steps=1, runs=tmp_path / "runs", weights=tmp_path)
    load_flow(read_release(release_path).config, tmp_path / "flow.safetensors")


def test_the_embedded_flow_trains_with_the_same_command(tmp_path, train):
    shutil.copy(WEIGHTS / "autoencoder.safetensors", tmp_path)
    train(1, steps=2, batch=2, runs=tmp_path / "runs", weights=tmp_path)
    assert load_module(EmbeddedFlow, tmp_path / "flow.safetensors").flow.config == embedded_config()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "tiny.yaml needs --pictures"),
        ({"pictures": "photos"}, "needs --autoencoder"),
        ({"pictures": "photos", "autoencoder": "vae"}, "width of text encoder 'tiny' is not known"),
    ],
)
def test_a_release_says_what_training_needs(release_path, train, given, said):
    if "text encoder" not in said:
        release_path.write_text(RELEASE.replace("text: tiny", "text: google/flan-t5-xl"))
    with pytest.raises((SystemExit, ModelNotLoadable), match=said):
        train(1, release=release_path, **given)
