"""Prompts to pixels with a loaded flow: text, noise by seed, sampler, denoising step, autoencoder; and likelihoods.

Text, denoising and pictures of released flows go item by item, so an item of a batch differs from the same item alone
only by the rounding of the sampler's matrix products. The same batch gives the same bits again on the same device.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from replicas.errors import BatchTooLarge
from replicas.seeds import generators, normal

from .aspect import aspect_of, sizes, with_aspect
from .denoise import denoise
from .likelihood import Likelihood, log_likelihood
from .memory import GIB, Footprint, MemoryLimit, ran_out
from .model import StarFlow
from .parts_memory import PartsFootprint
from .presets import DrawOptions
from .sampling.sample import sample
from .text import TextStates

logger = logging.getLogger(__name__)


class PromptReader(Protocol):
    """What reads prompts: `TextEncoder`, or the word encoder of the embedded flow."""

    @property
    def window(self) -> int:
        """L, the longest prompt in tokens."""

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """B prompts -> states [B, L, D], and which were cut."""

    def close(self) -> None:
        """Out of memory."""


class PictureCodec(Protocol):
    """What turns pixels to latents and back: `ImageAutoencoder`, or the autoencoder of the embedded models."""

    @property
    def factor(self) -> int:
        """Pixels a latent is wide and high."""

    def encode(self, images: np.ndarray) -> Tensor:
        """[B, H, W, 3] uint8 -> latents [B, C, H / factor, W / factor], without noise."""

    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents -> [B, H, W, 3] uint8."""

    def close(self) -> None:
        """Out of memory."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a flow was trained, as far as drawing has to follow it."""

    image_px: int  # side of the square picture
    noise_std: float  # of the noise that was added to the latents
    guidance: float  # where a preset names none
    denoise: bool  # whether the autoencoder wants latents without noise
    any_aspect: bool  # whether flow and autoencoder serve other grids than the square one
    names_aspect: bool = False  # prompts end with the picture's aspect ratio (`mix_aspect` in released configurations)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch."""

    images: np.ndarray  # [B, H, W, 3] uint8
    notices: tuple[str | None, ...]  # of each image, what its caller should know


class FlowPipeline:
    """A flow with what it needs around it, on one device. `words` None: a flow that reads no text."""

    def __init__(
        self,
        flow: StarFlow,
        words: PromptReader | None,
        pictures: PictureCodec,
        habits: Habits,
        memory: MemoryLimit,
        parts: PartsFootprint | None = None,
    ) -> None:
        """`parts`: what words and pictures take beside their weights; None: too little to count."""
        self._parts = parts or PartsFootprint()
        self.flow, self.words, self.pictures, self.habits, self.memory = flow, words, pictures, habits, memory
        self._footprint = Footprint(flow.config, next(flow.parameters()).dtype, self.device.type)
        self._empty: dict[str, Tensor] = {}  # states of the empty prompt, by its wording

    @property
    def device(self) -> torch.device:
        """Where the flow is."""
        return next(self.flow.parameters()).device

    @property
    def sizes_px(self) -> Mapping[str, tuple[int, int]]:
        """Aspect -> (height, width) of the pictures that it draws."""
        multiple_px = self.pictures.factor * self.flow.config.patch_size
        return sizes(self.habits.image_px, multiple_px, any_aspect=self.habits.any_aspect)

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], size_px: tuple[int, int], options: DrawOptions
    ) -> Drawn:
        """B prompts and seeds, (height, width) -> B pictures.

        Raises SizeNotPossible, BatchTooLarge before anything is computed, DrawingFailed, EncodingFailed.
        """
        aspect = aspect_of(*size_px, self.sizes_px)
        guidance = self.habits.guidance if options.guidance is None else options.guidance
        wants_denoising = self.habits.denoise if options.denoise is None else options.denoise
        height, width = (side // self.pictures.factor for side in size_px)
        config = self.flow.config
        need_bytes = max(
            self._footprint.drawing_bytes(
                len(prompts), height, width, guidance=guidance, settings=options.settings, denoise=wants_denoising
            ),
            self._parts.reading_bytes(len(prompts)),
            self._parts.decoding_bytes(len(prompts), size_px),
        )
        with self._checked(need_bytes, f"{len(prompts)} pictures of {size_px[0]} x {size_px[1]} px"):
            text, cut = self._read(prompts, aspect)
            text_empty = self._empty_text(aspect) if text is not None and guidance > 0 else None
            noise = normal(generators(seeds), (config.in_channels, height, width), str(self.device))
            noise = noise * options.temperature
            latents = sample(self.flow, noise, text, text_empty, guidance=guidance, settings=options.settings)
            if wants_denoising:
                latents = denoise(self.flow, latents, text, self.habits.noise_std)
            images = self.pictures.decode(latents)
        return Drawn(images, self._notices(cut))

    def log_likelihood(self, images: np.ndarray, prompts: Sequence[str], seeds: Sequence[int]) -> Likelihood:
        """How likely pictures [B, H, W, 3] uint8 are, given their prompts: of their mean latents, with noise by seed.

        `likelihood.py` says what that is a likelihood of. Raises SizeNotPossible, BatchTooLarge before anything is
        computed, EncodingFailed, and ValueError where images, prompts and seeds are not as many lists of one length.
        """
        if isinstance(prompts, str):
            raise ValueError("prompts is one text; give a list of texts, one for each image")
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images have shape {images.shape}; give [B, H, W, 3], one image as images[None]")
        if not len(images) == len(prompts) == len(seeds):
            counts = f"{len(images)} images, {len(prompts)} prompts and {len(seeds)} seeds"
            raise ValueError(f"{counts}; give as many of each")
        if not prompts:
            raise ValueError("no images were given; give at least one")
        aspect = aspect_of(images.shape[1], images.shape[2], self.sizes_px)
        height_px, width_px = images.shape[1:3]
        need_bytes = max(
            self._footprint.likelihood_bytes(height_px // self.pictures.factor, width_px // self.pictures.factor),
            self._parts.reading_bytes(len(prompts)),
            self._parts.encoding_bytes(len(prompts), (height_px, width_px)),
        )
        with self._checked(need_bytes, f"the likelihood of {len(images)} pictures of {height_px} x {width_px} px"):
            clean = self.pictures.encode(images).to(self.device)
            noisy = clean + self.habits.noise_std * normal(generators(seeds), clean.shape[1:], str(self.device))
            text, _ = self._read(prompts, aspect)
            with torch.inference_mode():
                rows = [
                    log_likelihood(self.flow, noisy[row : row + 1], None if text is None else text[row : row + 1])
                    for row in range(len(images))
                ]
        return Likelihood(torch.cat([row.nats for row in rows]).cpu(), clean[0].numel())

    def close(self) -> None:
        """Out of memory, the parts too."""
        if self.words is not None:
            self.words.close()
        self.pictures.close()
        self._empty.clear()

    @contextmanager
    def _checked(self, need_bytes: int, what: str) -> Iterator[None]:
        """Refuse `what` where it is predicted not to fit, and where it then does not. Raises BatchTooLarge."""
        self.memory.check(need_bytes, what)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            raise BatchTooLarge(  # others took what was free a moment ago
                f"{self.device} ran out of memory at {what}, predicted to need {need_bytes / GIB:.2f} GiB: {error}; "
                "draw fewer at once"
            ) from error

    def _read(self, prompts: Sequence[str], aspect: str) -> tuple[Tensor | None, tuple[bool, ...]]:
        if self.words is None:
            return None, (False,) * len(prompts)
        encoded = self.words.encode([self._worded(prompt, aspect) for prompt in prompts])
        return encoded.states.to(self.device), encoded.cut

    def _empty_text(self, aspect: str) -> Tensor:
        """[1, L, D]."""
        assert self.words is not None
        worded = self._worded("", aspect)
        if worded not in self._empty:
            self._empty[worded] = self.words.encode([worded]).states.to(self.device)
        return self._empty[worded]

    def _worded(self, prompt: str, aspect: str) -> str:
        """The prompt as the flow read prompts in training, the empty one too."""
        return with_aspect(prompt, aspect) if self.habits.names_aspect else prompt

    def _notices(self, cut: Sequence[bool]) -> tuple[str | None, ...]:
        if not any(cut) or self.words is None:
            return (None,) * len(cut)
        logger.warning("%d of %d prompts were cut to %d tokens", sum(cut), len(cut), self.words.window)
        notice = f"the prompt is longer than the text window of {self.words.window} tokens: only its beginning was read"
        return tuple(notice if one else None for one in cut)
