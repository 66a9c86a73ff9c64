"""What all embedded models share: weights that load or say why not, and files that stay small and safe."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from replicas.autoencoder import Autoencoder
from replicas.embedded import WEIGHTS, load_module
from replicas.errors import ModelNotLoadable
from replicas.patches import to_uint8, to_unit_range
from replicas.scenes.prompts import Placed, Scene
from replicas.scenes.render import render_many


def test_weights_are_safetensors_of_at_most_10_megabytes():
    files = [path for path in WEIGHTS.iterdir() if path.suffix != ".md"]
    assert files
    assert all(path.suffix == ".safetensors" for path in files)
    assert all(path.stat().st_size <= 10_000_000 for path in files)


def test_load_module_truncated_file_says_how_to_mend(tmp_path: Path):
    path = tmp_path / "autoencoder.safetensors"
    path.write_bytes((WEIGHTS / "autoencoder.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelNotLoadable, match=r"python -m replicas\.training\.autoencoder"):
        load_module(Autoencoder, path)


def test_load_module_missing_file(tmp_path: Path):
    with pytest.raises(ModelNotLoadable, match=r"missing\.safetensors"):
        load_module(Autoencoder, tmp_path / "missing.safetensors")


def test_load_module_not_finite_weights_are_refused(tmp_path: Path):
    state = load_file(WEIGHTS / "autoencoder.safetensors")
    state["decode_in.weight"][0, 0] = torch.nan
    path = tmp_path / "autoencoder.safetensors"
    save_file(state, path, metadata={"config": '{"width": 192, "layers": 4, "heads": 3}'})
    with pytest.raises(ModelNotLoadable, match=r"not finite: decode_in\.weight"):
        load_module(Autoencoder, path)


def test_autoencoder_returns_what_it_was_given_also_from_noisy_latents():
    scenes = [Scene("two", "", 0, (Placed(i, 0, 0, 24), Placed(i + 12, 32, 32, 24))) for i in range(12)]
    pictures = render_many(scenes)
    model = load_module(Autoencoder, WEIGHTS / "autoencoder.safetensors")
    latents = model.encode(to_unit_range(pictures))
    noisy = latents + 0.3 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for drawn in (to_uint8(model.decode(latents)), to_uint8(model.decode(noisy))):
        assert np.abs(drawn.astype(int) - pictures.astype(int)).mean() < 6
