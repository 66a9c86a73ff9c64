"""The autoencoder between pixels and the latents that the flow models: any AutoencoderKL of diffusers.

    autoencoder = ImageAutoencoder("/models/sd-vae-ft-ema")
    autoencoder.load("cuda")
    latents = autoencoder.encode(images)       # [B, H, W, 3] uint8 -> [B, C, H/8, W/8] float32
    images = autoencoder.decode(latents)

Latents are scaled by the autoencoder's `scaling_factor` and not shifted, also where it has a `shift_factor`: that is
how the released flows were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from replicas.diffusion import load_autoencoder
from replicas.errors import DrawingFailed, EncodingFailed, NotLoaded, SizeNotPossible
from replicas.loading import dtype_of, transformers_folder
from replicas.patches import to_uint8, to_unit_range

from .parts_memory import PictureFootprint

_DTYPES_THAT_DO = "many autoencoders overflow in float16: set its dtype to bfloat16 or float32"


class ImageAutoencoder:
    """The AutoencoderKL at `model`, a local folder or a hub id with its pinned `revision`.

    A folder may also be that of a whole pipeline, whose `vae` is taken. Images go through one by one: then an image is
    the same bits alone and in any batch, and memory does not grow with the batch.
    """

    def __init__(self, model: str, *, revision: str | None = None, dtype: str = "float32") -> None:
        self._source = model
        self._revision = revision
        self._dtype = dtype_of(dtype)
        self._model: Any = None

    @property
    def factor(self) -> int:
        """Pixels a latent is wide and high."""
        return int(2 ** (len(self._loaded().config.block_out_channels) - 1))

    @property
    def channels(self) -> int:
        """C of the latents."""
        return int(self._loaded().config.latent_channels)

    def load(self, device: str = "cpu") -> None:
        """Into memory. Raises ModelNotLoadable."""
        folder = transformers_folder(self._source, self._revision)
        self._model = load_autoencoder(folder, self._dtype).to(device)

    @torch.inference_mode()
    def encode(self, images: np.ndarray, sources: Sequence[torch.Generator] | None = None) -> Tensor:
        """[B, H, W, 3] uint8 -> [B, C, h, w] float32: the posterior's mean, or with `sources` a sample of it.

        `sources` holds one CPU generator an image. Raises NotLoaded, SizeNotPossible where H or W is no multiple of
        `factor`, EncodingFailed where the result is not finite.
        """
        model, factor = self._loaded(), self.factor
        pixels = to_unit_range(_checked(images)).permute(0, 3, 1, 2).to(model.device, self._dtype)  # [B, 3, H, W]
        if images.shape[1] % factor or images.shape[2] % factor:
            raise SizeNotPossible(
                f"height {images.shape[1]} px and width {images.shape[2]} px: the autoencoder {self._source!r} takes "
                f"multiples of {factor} px"
            )
        if sources is not None and len(sources) != len(images):
            raise ValueError(f"{len(images)} images and {len(sources)} generators; each image needs its own")
        latents = []
        for row in range(len(images)):
            posterior = model.encode(pixels[row : row + 1]).latent_dist
            latents.append(posterior.mode() if sources is None else posterior.sample(sources[row]))
        if not latents:
            return torch.zeros(0, self.channels, images.shape[1] // factor, images.shape[2] // factor)
        found = torch.cat(latents).float() * model.config.scaling_factor
        if not torch.isfinite(found).all():
            raise EncodingFailed(
                f"the autoencoder {self._source!r} gave latents that are not finite; {_DTYPES_THAT_DO}"
            )
        return found

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> np.ndarray:
        """[B, C, h, w] -> [B, H, W, 3] uint8. Raises NotLoaded, DrawingFailed where the result is not finite."""
        model = self._loaded()
        scaled = latents.to(model.device, self._dtype) / model.config.scaling_factor
        images = [model.decode(scaled[row : row + 1]).sample.float() for row in range(len(latents))]
        if not images:
            height_px, width_px = (self.factor * side for side in latents.shape[2:])
            return np.zeros((0, height_px, width_px, 3), np.uint8)
        pixels = torch.cat(images).permute(0, 2, 3, 1)
        if not torch.isfinite(pixels).all():
            raise DrawingFailed(f"the autoencoder {self._source!r} gave pixels that are not finite; {_DTYPES_THAT_DO}")
        return to_uint8(pixels)

    @property
    def held_bytes(self) -> int:
        """Of its weights."""
        return sum(weight.numel() * weight.element_size() for weight in self._loaded().parameters())

    @property
    def footprint(self) -> PictureFootprint:
        """What it takes beside its weights."""
        return PictureFootprint(tuple(self._loaded().config.block_out_channels), self._dtype.itemsize)

    def close(self) -> None:
        """Out of memory; load() brings it back."""
        self._model = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _loaded(self) -> Any:
        if self._model is None:
            raise NotLoaded(f"the autoencoder {self._source!r} is not loaded; call load() first")
        return self._model


class Pixels:
    """In place of an autoencoder, for a flow that models pixels themselves: latents are pixels in [-1, 1]."""

    factor, channels, held_bytes = 1, 3, 0

    def encode(self, images: np.ndarray) -> Tensor:
        """[B, H, W, 3] uint8 -> [B, 3, H, W] float32."""
        return to_unit_range(_checked(images)).permute(0, 3, 1, 2)

    def decode(self, latents: Tensor) -> np.ndarray:
        """[B, 3, H, W] -> [B, H, W, 3] uint8."""
        return to_uint8(latents.permute(0, 2, 3, 1))

    def close(self) -> None:
        """Nothing is held."""


def _checked(images: np.ndarray) -> np.ndarray:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype} of shape {images.shape}; give uint8 of shape [B, H, W, 3]")
    return np.require(images, requirements="W")  # torch warns of arrays that it could not write to
