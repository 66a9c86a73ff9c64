"""The only file that imports diffusers: the diffusion tier, and the UNet and sampler of the embedded model.

diffusers takes seconds to import, so the imports stand inside the functions: a catalogue can be checked without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import ModelNotLoadable

if TYPE_CHECKING:
    from torch import nn

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm_solver_multistep": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "flow_match_euler": "FlowMatchEulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}


def build_unet(config: Mapping[str, Any]) -> nn.Module:
    """A fresh UNet2DConditionModel in float32: `unet(x, t, encoder_hidden_states=…).sample`.

    `config` holds its constructor's arguments. `up_block_types` may be left out: then the way up mirrors the way down.
    `attention_head_dim` is, by a naming mistake that diffusers keeps for old checkpoints, the *number* of heads.
    """
    from diffusers.models.attention_processor import AttnProcessor
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    if "down_block_types" in arguments and "up_block_types" not in arguments:
        down = reversed(arguments["down_block_types"])
        arguments["up_block_types"] = tuple(name.replace("Down", "Up") for name in down)
    try:
        unet = UNet2DConditionModel(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelNotLoadable(f"UNet config {dict(config)} was refused by UNet2DConditionModel: {error}") from error
    # Explicit softmax: on CPU, fused attention's backward in bfloat16 is several times slower.
    unet.set_attn_processor(AttnProcessor())
    return unet


def build_scheduler(name: str, **config: Any) -> Any:
    """A diffusers scheduler by one of the names in SCHEDULERS, with its constructor's arguments."""
    import diffusers

    if name not in SCHEDULERS:
        raise ModelNotLoadable(f"scheduler {name!r} is unknown; known: {', '.join(sorted(SCHEDULERS))}")
    try:
        return getattr(diffusers, SCHEDULERS[name])(**config)
    except (TypeError, ValueError) as error:
        raise ModelNotLoadable(f"scheduler {name!r} refused its config {config}: {error}") from error
