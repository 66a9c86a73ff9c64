"""A tier and a scorer without a model: for tests, for measuring everything around a tier, and for trying a catalogue.

FakeTier(presets={"fast": {"service_s": 0.05}}, fail_every=10, native_size_px=(64, 64))
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import DrawingFailed, NotLoaded, UnknownPreset
from .scorer import Scorer
from .tier import GenerationRequest, Tier


class FakeTier(Tier):
    """Draws a two-colour gradient that depends on prompt, seed and preset only; always in its native size.

    `service_s` is slept once a batch, as a model's time mostly depends on the batch and not on its members; a preset's
    own `service_s` goes before it. Every `fail_every`-th batch raises DrawingFailed; None: no batch fails.
    """

    family = "fake"

    def __init__(
        self,
        model: str | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        service_s: float = 0.0,
        fail_every: int | None = None,
        native_size_px: Sequence[int] = (64, 64),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(model, presets)
        if not (math.isfinite(service_s) and service_s >= 0):
            raise ValueError(f"service_s is {service_s}; it must be finite and at least 0")
        if fail_every is not None and fail_every < 1:
            raise ValueError(f"fail_every is {fail_every}; it must be at least 1, or None for no failures")
        height_px, width_px = native_size_px
        if height_px < 1 or width_px < 1:
            raise ValueError(f"native_size_px is {tuple(native_size_px)}; both must be at least 1")
        self.native_size_px = (height_px, width_px)
        self._service_s = service_s
        self._fail_every = fail_every
        self._sleep = sleep
        self._batches = 0
        self._loaded = False

    def check_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        for name, options in presets.items():
            unknown = sorted(set(options) - {"service_s"})
            if unknown:
                raise UnknownPreset(f"preset {name!r}: option {', '.join(unknown)} is unknown; known: service_s")
            seconds = options.get("service_s", 0.0)
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise UnknownPreset(f"preset {name!r}: service_s is {seconds!r}; it must be finite and at least 0")

    def load(self, device: str) -> None:
        self._loaded = True

    def warm_up(self) -> None:
        self._check_loaded()

    def generate(self, requests: Sequence[GenerationRequest]) -> np.ndarray:
        self._check_loaded()
        options = self.options_of(requests)
        self._batches += 1
        self._sleep(options.get("service_s", self._service_s))
        if self._fail_every is not None and self._batches % self._fail_every == 0:
            raise DrawingFailed(f"batch {self._batches} fails, as fail_every={self._fail_every} asks")
        return np.stack([self._draw(request) for request in requests])

    def close(self) -> None:
        self._loaded = False

    def _check_loaded(self) -> None:
        if not self._loaded:
            raise NotLoaded("this fake tier is not loaded; call load() first")

    def _draw(self, request: GenerationRequest) -> np.ndarray:
        text = request.prompt.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(f"{request.seed}\0{request.preset}\0".encode() + text).digest()
        corner, opposite = (np.frombuffer(digest[i : i + 3], dtype=np.uint8).astype(np.float32) for i in (0, 3))
        height_px, width_px = self.native_size_px
        down = np.linspace(0, 0.5, height_px, dtype=np.float32)[:, None, None]
        right = np.linspace(0, 0.5, width_px, dtype=np.float32)[None, :, None]
        share = down + right  # [H, W, 1], 0 in one corner and 1 in the opposite one
        return np.rint(corner * (1 - share) + opposite * share).astype(np.uint8)  # [H, W, 3]


class FakeScorer(Scorer):
    """A score that depends on the prompt's words and the image's pixels only, spread evenly over [0, 1)."""

    def __init__(self) -> None:
        self._loaded = False

    def load(self, device: str) -> None:
        self._loaded = True

    def score(self, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        if not self._loaded:
            raise NotLoaded("this fake scorer is not loaded; call load() first")
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts; each image needs its prompt")
        scores = []
        for image, prompt in zip(images, prompts, strict=True):
            digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass") + b"\0" + image.tobytes()).digest()
            scores.append(int.from_bytes(digest[:3]) / 2**24)  # 24 bits: exact in float32, so never 1.0
        return np.array(scores, dtype=np.float32)

    def close(self) -> None:
        self._loaded = False
