"""Noise to latents: the blocks of a flow inverted one after another, from the deep one to the one next to the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from replicas.errors import DrawingFailed
from replicas.starflow.block import FlowBlock
from replicas.starflow.linear import Multiply, halved, halving_is_faster, packed
from replicas.starflow.model import StarFlow
from replicas.starflow.positions import Rotation

from .inversion import Inversion
from .jacobi import Precision, jacobi
from .sequential import sequential
from .settings import SamplerSettings
from .transformer import Transformer

_ROUGH_ROWS = 64  # with fewer, reading weights takes the time, and copying them to bfloat16 reads them as well


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
        one = _Block(
            block,
            flow.rotation(index, height, width, text_tokens),
            text if block.conditioned else None,
            text_empty if weight > 0 else None,
            weight,
            deep,
        )
        tokens = block.turn(_invert_block(one, block.turn(tokens), settings, check))
    return flow.from_tokens(tokens, height, width)


class _Block(NamedTuple):
    block: FlowBlock
    by: Rotation | None
    text: Tensor | None
    text_empty: Tensor | None
    guidance: float
    deep: bool


def _invert_block(one: _Block, z: Tensor, settings: SamplerSettings, check: Callable[[], None]) -> Tensor:
    """Caches and copies of weights live as long as this call, so never those of two blocks at a time."""
    rows, tokens, _ = z.shape
    block, temperature = one.block, settings.attention_temperature
    seen = 2 * rows if one.guidance > 0 else rows

    def ready(multiply: Callable[[nn.Linear], Multiply]) -> Transformer:
        return Transformer(block, one.by, multiply, temperature)

    def inversion(transformer: Transformer) -> Inversion:
        return Inversion(block, transformer, rows, tokens, one.text, one.text_empty, one.guidance)

    part_tokens = settings.part_tokens(one.deep, tokens)
    if settings.method == "sequential" or part_tokens == 1:  # a part of one token needs no iteration
        return sequential(inversion(ready(lambda linear: packed(linear, seen))), z, check)
    rough = None
    rows_of_an_item = (2 if one.guidance > 0 else 1) * part_tokens  # not of the batch: an item must come out as alone
    if settings.rough_first and block.dtype == torch.float32 and rows_of_an_item >= _ROUGH_ROWS:
        rough = ready(halved) if halving_is_faster(z.device) else None
    precision = Precision(settings.tolerance, settings.colors, rough)
    return jacobi(inversion(ready(lambda linear: linear)), z, part_tokens, precision, check)


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
