"""The flow of this tree as a pipeline: its own words in place of a T5, the embedded autoencoder in that of a large one.

Both work on a whole batch at once: they are small, and on a CPU a batch of four costs hardly more than one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from replicas.autoencoder import LATENT_CHANNELS, Autoencoder
from replicas.embedded import WEIGHTS, load_module
from replicas.errors import DrawingFailed, SizeNotPossible
from replicas.patches import GRID, PATCH_PX, to_uint8, to_unit_range
from replicas.text import MAX_WORDS, WordTokenizer

from .embedded import NOISE_STD, EmbeddedFlow, to_grid
from .memory import MemoryLimit
from .pipeline import FlowPipeline, Habits
from .text import TextStates

GUIDANCE = 1.0  # where a preset names none
EMBEDDED_SIZE_PX = (GRID * PATCH_PX, GRID * PATCH_PX)


class EmbeddedWords:
    """Prompts to text states by the flow's own word encoder."""

    window = MAX_WORDS

    def __init__(self, flow: EmbeddedFlow) -> None:
        self._flow = flow
        self._tokenize = WordTokenizer()

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """B prompts -> states [B, MAX_WORDS, D]; words that it never read are one and the same."""
        ids = self._tokenize(prompts).to(next(self._flow.parameters()).device)
        return TextStates(self._flow.read(ids), tuple(self._tokenize.cut(prompts)))

    def close(self) -> None:
        """The weights go with the flow."""


class EmbeddedPictures:
    """64-px pictures to latents [B, 16, 8, 8] and back; the decoder takes the noise of training out itself."""

    factor, channels = PATCH_PX, LATENT_CHANNELS

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> Tensor:
        """[B, 64, 64, 3] uint8 -> [B, 16, 8, 8] float32. Raises SizeNotPossible."""
        if images.dtype != np.uint8 or images.shape[1:] != (*EMBEDDED_SIZE_PX, 3):
            raise SizeNotPossible(
                f"images are {images.dtype} of shape {images.shape}; the embedded autoencoder takes uint8 "
                f"[B, {EMBEDDED_SIZE_PX[0]}, {EMBEDDED_SIZE_PX[1]}, 3]"
            )
        pixels = to_unit_range(np.require(images, requirements="W"))  # torch warns of arrays that it could not write to
        return to_grid(self._autoencoder.encode(pixels.to(self._autoencoder.position.device)))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> np.ndarray:
        """[B, 16, 8, 8] -> [B, 64, 64, 3] uint8. Raises DrawingFailed where the result is not finite."""
        pixels = self._autoencoder.decode(latents.flatten(2).transpose(1, 2))
        if not torch.isfinite(pixels).all():
            raise DrawingFailed("the embedded autoencoder gave pixels that are not finite; restore its weights")
        return to_uint8(pixels)

    def close(self) -> None:
        """The weights go with this object."""


def load_embedded(device: str, folder: Path = WEIGHTS) -> FlowPipeline:
    """The flow of this tree, or of another folder with flow.safetensors and autoencoder.safetensors as ours.

    Raises ModelNotLoadable.
    """
    flow = load_module(EmbeddedFlow, folder / "flow.safetensors").to(device)
    autoencoder = load_module(Autoencoder, folder / "autoencoder.safetensors").to(device)
    habits = Habits(
        image_px=EMBEDDED_SIZE_PX[0], noise_std=NOISE_STD, guidance=GUIDANCE, denoise=False, any_aspect=False
    )  # fmt: skip
    return FlowPipeline(
        flow.flow, EmbeddedWords(flow), EmbeddedPictures(autoencoder), habits, MemoryLimit(torch.device(device))
    )
