"""Noise to latents: the blocks of a flow inverted one after another, from the deep one to the one next to the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from replicas.errors import DrawingFailed
from replicas.starflow.block import FlowBlock
from replicas.starflow.model import StarFlow

from .inversion import Inversion
from .jacobi import jacobi
from .sequential import sequential
from .settings import SamplerSettings


def sample(
    flow: StarFlow,
    noise: Tensor,
    text: Tensor | None = None,
    text_empty: Tensor | None = None,
    *,
    guidance: float = 0.0,
    settings: SamplerSettings,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """The latents whose forward pass gives `noise`, or with guidance what the guided density makes of it.

    Args:
        noise: [B, C, H, W], standard normal; H and W in latent pixels.
        text: [B, L, D] states of the text encoder, for a flow that reads text.
        text_empty: [B, L, D] or [1, L, D], those of the empty prompt, for guidance above 0.
        guidance: weight w >= 0 of p(x|text)^(1+w) / p(x)^w; 0: none. Guided are the blocks that read text.
        check: called between steps; what it raises ends the drawing (a caller who left, a deadline).

    Returns: [B, C, H, W] of at least float32; an item of a batch comes out as it would alone, up to rounding.

    Raises: SizeNotPossible and ValueError where grid, text or guidance do not fit the flow, DrawingFailed where the
    result has values that are not finite.
    """
    height, width = noise.shape[-2:]
    flow.check_grid(height, width)
    flow.check_text(text, len(noise))
    _check_guidance(flow, text, text_empty, guidance)
    with torch.inference_mode():
        latents = _invert(flow, noise, text, text_empty, guidance, settings, check or _go_on)
        finite = bool(latents.isfinite().all())
    if not finite:
        raise DrawingFailed("the flow's latents are not finite: other noise, less guidance or sounder weights may help")
    return latents.clone()  # outside of inference mode, so that gradients may start from it


def _invert(
    flow: StarFlow,
    noise: Tensor,
    text: Tensor | None,
    text_empty: Tensor | None,
    guidance: float,
    settings: SamplerSettings,
    check: Callable[[], None],
) -> Tensor:
    height, width = noise.shape[-2:]
    tokens = flow.to_tokens(noise.to(torch.promote_types(noise.dtype, torch.float32)))
    text_tokens = 0 if text is None else text.shape[1]
    deepest = len(flow.blocks) - 1
    for index in range(deepest, -1, -1):
        block = flow.blocks[index]
        if not isinstance(block, FlowBlock):
            continue
        deep = index == deepest
        weight = guidance if block.conditioned and (deep or not settings.guide_deep_only) else 0.0
        inversion = Inversion(
            block,
            *tokens.shape[:2],
            text if block.conditioned else None,
            text_empty if weight > 0 else None,
            flow.rotation(index, height, width, text_tokens),
            weight,
            settings.attention_temperature,
        )
        z = block.turn(tokens)
        if settings.method == "sequential":
            x = sequential(inversion, z, check)
        else:
            part_tokens = settings.part_tokens(deep, inversion.inputs)
            x = jacobi(inversion, z, part_tokens, settings.tolerance, check)
        tokens = block.turn(x)
    return flow.from_tokens(tokens, height, width)


def _check_guidance(flow: StarFlow, text: Tensor | None, text_empty: Tensor | None, guidance: float) -> None:
    if not 0 <= guidance < float("inf"):
        raise ValueError(f"guidance is {guidance!r}; allowed: a number of at least 0, which is none")
    if guidance == 0 or flow.config.txt_dim == 0:
        return
    if text is None or text_empty is None:
        raise ValueError(f"guidance {guidance} needs the text states of the empty prompt beside those of the prompts")
    if text_empty.dim() != 3 or text_empty.shape[0] not in (1, len(text)) or text_empty.shape[1:] != text.shape[1:]:
        raise ValueError(
            f"the empty prompt's text states have shape {tuple(text_empty.shape)}; they must have the prompts', "
            f"{tuple(text.shape)}, with as many rows or one"
        )


def _go_on() -> None:
    """Nothing asks to stop."""
