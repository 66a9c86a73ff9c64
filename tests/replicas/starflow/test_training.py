"""Training a flow of any size on captioned pictures: the command runs, resumes, and what it writes can be loaded."""

import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from replicas.errors import ModelNotLoadable
from replicas.starflow.aspect import with_aspect
from replicas.starflow.checkpoint import load_flow
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
    batches = pictures.batches(2, dropped_text=0.5, seed=0)
    seen = [next(batches) for _ in range(12)]
    assert {tuple(latents.shape) for latents, _ in seen} == {(2, 4, 4, 4), (2, 4, 3, 6)}
    assert {tuple(states.shape) for _, states in seen} == {(2, 8, 24)}
    again = pictures.batches(2, dropped_text=0.5, seed=0)
    assert all(
        torch.equal(a, b) for one, other in zip(seen, again, strict=False) for a, b in zip(one, other, strict=True)
    )


def test_without_mixed_aspects_all_are_squares(photos, release_path, autoencoder_folder, t5_folder):
    release_path.write_text(RELEASE.replace("mix_aspect: 1", "mix_aspect: 0"))
    autoencoder, text = encoders(autoencoder_folder, t5_folder)
    batches = Pictures(photos, read_release(release_path, text_width=24), autoencoder, text).batches(2, 1.0, 0)
    latents, states = next(batches)
    assert latents.shape == (2, 4, 4, 4)
    assert torch.equal(states[0], text.encode([""]).states[0])


def test_dropped_text_is_the_empty_prompt(photos, release_path, autoencoder_folder, t5_folder):
    autoencoder, text = encoders(autoencoder_folder, t5_folder)
    (photos / "a.txt").unlink()
    (photos / "b.txt").unlink()
    pictures = Pictures(photos, read_release(release_path, text_width=24), autoencoder, text)
    empty = text.encode([with_aspect("", "1:1")]).states[0]
    always, never = (next(pictures.batches(3, share, 1))[1] for share in (1.0, 0.0))
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


def test_the_command_trains_resumes_and_writes_what_can_be_loaded(
    photos, release_path, autoencoder_folder, t5_folder, tmp_path, monkeypatch, capsys
):
    def run(steps):
        given = [
            "--release", release_path, "--pictures", photos, "--autoencoder", autoencoder_folder, "--text-encoder",
            t5_folder, "--batch", 2, "--runs", tmp_path / "runs", "--weights", tmp_path / "out", "--no-compile",
            "--steps", steps,
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["flow", *map(str, given)])
        threads = torch.get_num_threads()
        try:
            command.main()
        finally:
            torch.set_num_threads(threads)

    run(2)
    run(4)
    assert "resumed at step 2" in capsys.readouterr().out
    release = read_release(tmp_path / "out" / "tiny.yaml", text_width=24)
    flow = load_flow(release.config, tmp_path / "out" / "flow.safetensors")
    z = flow(torch.randn(1, 4, 4, 4), torch.zeros(1, 8, 24)).z
    assert z.isfinite().all()
    assert any(value.abs().max() > 0 for name, value in flow.named_parameters() if name.endswith("proj_out.weight"))


def test_a_release_without_pictures_says_what_it_needs(release_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["flow", "--release", str(release_path)])
    with pytest.raises(SystemExit, match="--release also needs --pictures, --autoencoder, --text-encoder"):
        command.main()
