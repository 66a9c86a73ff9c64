"""The contract of a tier: four verbs, one batch at a time. Each tier is a file of its own beside this one.

tier = GanTier(model=None, presets={"fast": {}})
tier.load("cpu"); tier.warm_up()
images = tier.generate([GenerationRequest("two cats", seed=7, preset="fast")])   # [1, 64, 64, 3] uint8
tier.close()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UnknownPreset


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One image to draw. All requests of a batch share preset and size; each has its own seed."""

    prompt: str
    seed: int  # 0 <= seed < 2**63; the same seed gives the same image, alone or in a batch
    preset: str
    height_px: int = 64
    width_px: int = 64


class Tier(ABC):
    """A model that draws. Not thread safe: the caller runs one batch at a time.

    `model` is a local path or hub id, None for the weights in this tree; `presets` maps a preset's name to the
    options of this tier's sampler (unknown options are an error that names the allowed ones).
    Further keyword options (dtype, revision, ...) are the tier's own.
    """

    family: str  # "gan", "diffusion", "flow"
    native_size_px: tuple[int, int]  # height, width that the model draws; the gateway resizes to what was asked

    def __init__(self, model: str | None = None, presets: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.model = model
        self.presets = presets or {}

    @property
    def presets(self) -> Mapping[str, Mapping[str, Any]]:
        """Preset name -> options. May be set at any time between batches: new presets need no new replica."""
        return self._presets

    @presets.setter
    def presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        self.check_presets(presets)
        self._presets = {name: dict(options) for name, options in presets.items()}

    def check_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse options that this tier's sampler does not know, with UnknownPreset. Called by Tier.__init__ too, so a
        subclass must not need attributes here that its own __init__ has yet to set."""

    @abstractmethod
    def load(self, device: str) -> None:
        """Read weights and move them to `device` ("cpu", "cuda", "cuda:0"). Raises ModelNotLoadable."""

    @abstractmethod
    def warm_up(self) -> None:
        """Draw once, so that the first caller does not pay for lazy initialisation."""

    @abstractmethod
    def generate(self, requests: Sequence[GenerationRequest]) -> np.ndarray:
        """Draw one batch: [B, H, W, 3] uint8, in the order of `requests`. Raises UnknownPreset."""

    @abstractmethod
    def close(self) -> None:
        """Free the memory. A closed tier cannot generate until it is loaded again."""

    def size_for(self, height_px: int, width_px: int) -> tuple[int, int]:
        """(height, width) that a loaded tier draws for an image asked for in this size: nearest in shape. One that
        draws a single size, as most do, draws that."""
        return self.native_size_px

    def notices(self) -> Sequence[str | None]:
        """What the callers of the last batch should know of their images ("the prompt was cut"), in its order, None
        where there is nothing; empty where there is nothing for any. Never the prompt itself."""
        return ()

    def options_of(self, requests: Sequence[GenerationRequest]) -> Mapping[str, Any]:
        """The options of the preset that a batch shares. Raises UnknownPreset, and ValueError where none is shared."""
        shared = sorted({(request.preset, request.height_px, request.width_px) for request in requests})
        if len(shared) != 1:
            raise ValueError(f"a batch must hold requests of one preset and one size, given: {shared or 'none'}")
        presets, preset = self.presets, requests[0].preset
        if preset not in presets:
            known = ", ".join(sorted(presets)) or "none"
            raise UnknownPreset(f"preset {preset!r} is unknown; this tier has: {known}")
        return presets[preset]
