"""What a preset of the flow tier may say, from an operator's mapping to checked values.

options_of("draft", {"guidance": 3.0, "tolerance": 0.05}).settings     # the built-in draft, less exact
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from replicas.errors import UnknownPreset

from .sampling.settings import PRESETS, SamplerSettings

DEFAULT_SAMPLER = "standard"
_SETTINGS = tuple(field.name for field in fields(SamplerSettings))
_OWN = ("guidance", "temperature", "denoise", "sampler")
ALLOWED = (*_OWN, *_SETTINGS)


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """How to draw one batch."""

    guidance: float | None  # w >= 0 of the sampler, 0: none; None: the model's own
    temperature: float  # factor of the noise
    denoise: bool | None  # whether the noise of training is taken out after sampling; None: as suits the autoencoder
    settings: SamplerSettings


def built_in() -> dict[str, dict[str, Any]]:
    """The presets of a tier that is given none: one for each sampler setting that is measured."""
    return {name: {} for name in PRESETS}


def options_of(preset: str, options: Mapping[str, Any]) -> DrawOptions:
    """What `options` of the preset named `preset` mean. Raises UnknownPreset.

    `sampler` names the built-in settings that the others change: by default those of the preset's own name, or
    "standard" where there are none. Every field of SamplerSettings is an option.
    """
    unknown = sorted(set(options) - set(ALLOWED))
    if unknown:
        raise UnknownPreset(
            f"preset {preset!r}: unknown option {', '.join(unknown)}; the flow tier allows: {', '.join(ALLOWED)}"
        )
    sampler = options.get("sampler", preset if preset in PRESETS else DEFAULT_SAMPLER)
    if sampler not in PRESETS:
        raise UnknownPreset(f"preset {preset!r}: sampler is {sampler!r}; allowed: {', '.join(PRESETS)}")
    changed = {name: options[name] for name in _SETTINGS if name in options}
    try:
        settings = replace(PRESETS[sampler], **changed)
    except (TypeError, ValueError) as error:
        raise UnknownPreset(f"preset {preset!r}: {error}") from error
    guidance, temperature = options.get("guidance"), options.get("temperature", 1.0)
    if guidance is not None and not (_is_number(guidance) and guidance >= 0):
        raise UnknownPreset(f"preset {preset!r}: guidance is {guidance!r}; allowed: a finite number of at least 0")
    if not (_is_number(temperature) and temperature > 0):
        raise UnknownPreset(f"preset {preset!r}: temperature is {temperature!r}; allowed: a finite number above 0")
    denoise = options.get("denoise")
    if denoise is not None and not isinstance(denoise, bool):
        raise UnknownPreset(f"preset {preset!r}: denoise is {denoise!r}; allowed: true, false")
    return DrawOptions(None if guidance is None else float(guidance), float(temperature), denoise, settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
