"""What the embedded tiers share: weights of this tree, the latent space, one seed an image.

A tier that draws latents says how in `draw_latents`; reading weights, decoding to pixels and checking presets is here.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS, Autoencoder
from .errors import ModelNotLoadable, NotLoaded, UnknownPreset
from .patches import TOKENS, to_uint8
from .text import WordTokenizer
from .tier import GenerationRequest, Tier

WEIGHTS = Path(__file__).with_name("weights")

Module = TypeVar("Module", bound=nn.Module)


def load_module(kind: type[Module], path: Path) -> Module:
    """Build `kind` from the config in a safetensors file's metadata, with its weights in float32, in eval mode."""
    try:
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        module = kind(**config)
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelNotLoadable(
            f"{path}: not the weights of {kind.__name__} ({error}). Train it with "
            f"`python -m replicas.training.{path.stem}`, or restore the file from the repository."
        ) from error
    bad = [
        name for name, value in module.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if bad:
        raise ModelNotLoadable(f"{path}: not finite: {', '.join(bad[:5])}. Restore the file or train it again.")
    return module.eval().requires_grad_(False)


class LatentTier(Tier):
    """A tier that draws 8 x 8 x 16 latents which the shared autoencoder decodes to 64 x 64 pixels."""

    native_size_px = (64, 64)
    weights_name: str  # file in the weights folder
    sampler_options: Mapping[str, tuple[float, float]] = {}  # option -> allowed range, ends included

    def __init__(self, model: str | None = None, presets: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(model, presets or {"standard": {}})
        self._folder = Path(model) if model else WEIGHTS
        self._network: nn.Module | None = None
        self._autoencoder: Autoencoder | None = None
        self._device = torch.device("cpu")
        self.tokenize = WordTokenizer()

    def check_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        for preset, options in presets.items():
            for option, value in options.items():
                self._check_option(preset, option, value)

    def _check_option(self, preset: str, option: str, value: Any) -> None:
        if option not in self.sampler_options:
            allowed = ", ".join(self.sampler_options) or "none"
            raise UnknownPreset(f"preset {preset!r}: unknown option {option!r}; {self.family} allows: {allowed}")
        low, high = self.sampler_options[option]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UnknownPreset(f"preset {preset!r}: {option} = {value!r}; allowed: a number from {low} to {high}")

    @abstractmethod
    def build(self, path: Path) -> nn.Module:
        """The network with its weights."""

    @abstractmethod
    def draw_latents(self, network: Any, ids: Tensor, seeds: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        """Word ids [B, T] and B seeds -> latents [B, 64, 16]."""

    def load(self, device: str) -> None:
        self._device = torch.device(device)
        self._network = self.build(self._folder / f"{self.weights_name}.safetensors").to(self._device)
        self._autoencoder = load_module(Autoencoder, self._folder / "autoencoder.safetensors").to(self._device)

    def warm_up(self) -> None:
        self.generate([GenerationRequest("a cat", seed=0, preset=next(iter(self.presets)))])

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest]) -> np.ndarray:
        if self._network is None or self._autoencoder is None:
            raise NotLoaded(f"{type(self).__name__} is not loaded; call load(device) first")
        options = self.options_of(requests)
        ids = self.tokenize([request.prompt for request in requests]).to(self._device)
        latents = self.draw_latents(self._network, ids, [request.seed for request in requests], options)
        assert latents.shape == (len(requests), TOKENS, LATENT_CHANNELS)
        return to_uint8(self._autoencoder.decode(latents))

    def close(self) -> None:
        self._network = self._autoencoder = None
