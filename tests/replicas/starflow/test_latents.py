import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from replicas.errors import DrawingFailed, EncodingFailed, ModelNotLoadable, NotLoaded, SizeNotPossible
from replicas.seeds import generators
from replicas.starflow.latents import ImageAutoencoder

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def autoencoder(autoencoder_folder: Path) -> ImageAutoencoder:
    autoencoder = ImageAutoencoder(str(autoencoder_folder))
    autoencoder.load()
    return autoencoder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)


def test_encode_and_decode_are_the_models_own_with_its_scale(
    autoencoder: ImageAutoencoder, autoencoder_folder: Path, images: np.ndarray
) -> None:
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(autoencoder_folder).eval().requires_grad_(False)
    latents = autoencoder.encode(images)
    assert latents.shape == (3, 4, 4, 6)
    assert (autoencoder.factor, autoencoder.channels) == (8, 4)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 * 2 - 1
    expected = model.encode(pixels).latent_dist.mean * model.config.scaling_factor
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    decoded = autoencoder.decode(latents)
    assert (decoded.dtype, decoded.shape) == (np.uint8, images.shape)
    expected_pixels = model.decode(latents / model.config.scaling_factor).sample.permute(0, 2, 3, 1)
    expected_images = ((expected_pixels + 1) / 2 * 255).clamp(0, 255).round()
    assert np.abs(decoded - expected_images.numpy()).max() <= 1  # rounding of another batch size
    assert decoded.std() > 1


def test_posterior_sample_follows_its_generator(autoencoder: ImageAutoencoder, images: np.ndarray) -> None:
    mean = autoencoder.encode(images)
    first = autoencoder.encode(images, generators([1, 2, 3]))
    assert torch.equal(first, autoencoder.encode(images, generators([1, 2, 3])))
    assert torch.equal(first[2:], autoencoder.encode(images[2:], generators([3])))
    assert not torch.allclose(first, mean)
    assert not torch.allclose(first, autoencoder.encode(images, generators([4, 5, 6])))


def test_image_is_the_same_bits_alone_and_in_a_batch(autoencoder: ImageAutoencoder, images: np.ndarray) -> None:
    latents = autoencoder.encode(images)
    assert torch.equal(autoencoder.encode(images[1:2]), latents[1:2])
    assert (autoencoder.decode(latents[1:2]) == autoencoder.decode(latents)[1:2]).all()


def test_images_that_cannot_be_written_to_are_read_without_a_warning(
    autoencoder: ImageAutoencoder, images: np.ndarray
) -> None:
    frozen = images.copy()
    frozen.setflags(write=False)  # as arrays that come from another process are
    assert torch.equal(autoencoder.encode(frozen), autoencoder.encode(images))


def test_no_image_is_no_latent_and_back(autoencoder: ImageAutoencoder) -> None:
    latents = autoencoder.encode(np.zeros((0, 16, 24, 3), np.uint8))
    assert latents.shape == (0, 4, 2, 3)
    assert autoencoder.decode(latents).shape == (0, 16, 24, 3)


def test_bad_images_are_refused(autoencoder: ImageAutoencoder) -> None:
    with pytest.raises(SizeNotPossible, match="multiples of 8 px"):
        autoencoder.encode(np.zeros((1, 32, 33, 3), np.uint8))
    with pytest.raises(ValueError, match="give uint8"):
        autoencoder.encode(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(ValueError, match="1 images and 2 generators"):
        autoencoder.encode(np.zeros((1, 32, 32, 3), np.uint8), generators([1, 2]))


def test_values_that_are_not_finite_are_no_picture(autoencoder: ImageAutoencoder) -> None:
    with pytest.raises(DrawingFailed, match=r"not finite.*float32"):
        autoencoder.decode(torch.full((1, 4, 2, 2), torch.nan))


def test_not_loaded_or_closed_says_so(autoencoder_folder: Path) -> None:
    autoencoder = ImageAutoencoder(str(autoencoder_folder))
    with pytest.raises(NotLoaded):
        autoencoder.decode(torch.zeros(1, 4, 2, 2))
    autoencoder.load()
    autoencoder.close()
    with pytest.raises(NotLoaded):
        autoencoder.factor  # noqa: B018


@pytest.fixture
def copied(autoencoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(autoencoder_folder, tmp_path / "pipeline" / "vae"))


def load(folder: Path) -> ImageAutoencoder:
    autoencoder = ImageAutoencoder(str(folder))
    autoencoder.load()
    return autoencoder


def test_autoencoder_of_a_whole_pipeline_is_found(copied: Path) -> None:
    assert load(copied.parent).factor == 8


def test_missing_weights_are_an_error_and_not_random(copied: Path) -> None:
    weights = load_file(copied / WEIGHTS)
    del weights["decoder.conv_in.weight"]
    save_file(weights, copied / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelNotLoadable, match=r"lacks weights: decoder\.conv_in\.weight"):
        load(copied)


def test_weights_that_are_not_finite_are_found_when_they_encode(copied: Path) -> None:
    weights = load_file(copied / WEIGHTS)
    weights["encoder.conv_in.weight"][0] = torch.nan
    save_file(weights, copied / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(EncodingFailed, match="not finite"):
        load(copied).encode(np.zeros((1, 16, 16, 3), np.uint8))


def test_truncated_weights_and_other_classes_are_errors(copied: Path) -> None:
    content = (copied / WEIGHTS).read_bytes()
    (copied / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelNotLoadable, match="cannot be loaded"):
        load(copied)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "_class_name": "AutoencoderTiny"}))
    with pytest.raises(ModelNotLoadable, match="holds a AutoencoderTiny; the allowed"):
        load(copied)
    (copied / WEIGHTS).rename(copied / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelNotLoadable, match="only safetensors"):
        load(copied)
