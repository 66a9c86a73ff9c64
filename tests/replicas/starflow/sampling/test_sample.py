import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from replicas.errors import DrawingFailed, SizeNotPossible
from replicas.starflow.cache import KeyValueCache
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling import inversion
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import PRESETS, SamplerSettings

SEQUENTIAL = SamplerSettings()
CONVERGED = SamplerSettings("jacobi", tolerance=0.0)
IN_PARTS = SamplerSettings("jacobi", tolerance=0.0, deep_part_tokens=7, shallow_part_tokens=5)  # the last are shorter
COLORED = SamplerSettings("jacobi", tolerance=0.0, colors=3, deep_part_tokens=10)  # neither divides what follows it


def inputs(flow: StarFlow, rows: int = 2, height: int = 6, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, text, empty text."""
    if not flow.config.rope:
        width = height
    draw = torch.Generator().manual_seed(1)
    noise = torch.randn(rows, flow.config.in_channels, height, width, generator=draw)
    text = torch.randn(2, rows, flow.config.txt_size, flow.config.txt_dim, generator=draw)
    return noise, text[0], text[1]


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(
    "settings", [SEQUENTIAL, CONVERGED, IN_PARTS, COLORED], ids=["sequential", "converged", "in parts", "colored"]
)
def test_sampling_inverts_the_forward_pass(any_flow: StarFlow, settings: SamplerSettings) -> None:
    noise, text, _ = inputs(any_flow)
    latents = sample(any_flow, noise, text, settings=settings)
    assert apart(latents, noise) > 0.1
    torch.testing.assert_close(any_flow(latents, text).z, noise, rtol=0, atol=2e-5)


@pytest.mark.parametrize("settings", [CONVERGED, IN_PARTS, COLORED], ids=["converged", "in parts", "colored"])
def test_guided_jacobi_gives_the_sequential_result(any_flow: StarFlow, settings: SamplerSettings) -> None:
    noise, text, empty = inputs(any_flow)
    exact = sample(any_flow, noise, text, empty, guidance=2.0, settings=SEQUENTIAL)
    torch.testing.assert_close(
        sample(any_flow, noise, text, empty, guidance=2.0, settings=settings), exact, rtol=0, atol=2e-5
    )
    if any_flow.config.txt_dim:
        assert apart(exact, sample(any_flow, noise, text, settings=SEQUENTIAL)) > 0.02


@pytest.mark.parametrize("preset", PRESETS)
def test_item_of_a_batch_comes_out_as_alone(flow_of: Callable[..., StarFlow], preset: str) -> None:
    """Items need different numbers of iterations: the first is nearly the fixed point already."""
    flow = flow_of()
    noise, text, empty = inputs(flow, rows=3, height=8, width=12)
    noise[0] *= 0.01
    given: dict[str, Any] = {"guidance": 1.5, "settings": PRESETS[preset]}
    together = sample(flow, noise, text, empty[:1], **given)
    for row in range(3):
        here = slice(row, row + 1)
        torch.testing.assert_close(sample(flow, noise[here], text[here], empty[:1], **given), together[here])


@pytest.mark.parametrize("colors", [1, 2])
def test_items_in_parts_come_out_as_alone(flow_of: Callable[..., StarFlow], colors: int) -> None:
    """Later parts read what the cache holds of an item that stopped while others went on."""
    flow = flow_of()
    noise, text, _ = inputs(flow, rows=2)
    noise[0] *= 0.01
    settings = SamplerSettings("jacobi", tolerance=0.03, colors=colors, deep_part_tokens=8, shallow_part_tokens=8)
    together = sample(flow, noise, text, settings=settings)
    for row in range(2):
        here = slice(row, row + 1)
        torch.testing.assert_close(sample(flow, noise[here], text[here], settings=settings), together[here])


def test_one_row_of_empty_text_serves_all(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of(cond_top_only=False)
    noise, text, empty = inputs(flow, rows=3)
    once, thrice = (
        sample(flow, noise, text, rows, guidance=2.0, settings=CONVERGED)
        for rows in (empty[:1], empty[:1].expand(3, -1, -1))
    )
    torch.testing.assert_close(once, thrice)


def test_guidance_of_the_deep_block_only_leaves_the_others_unguided(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of(cond_top_only=False)
    noise, text, empty = inputs(flow)
    deep_only = SamplerSettings(guide_deep_only=True)
    all_guided, deep_guided = (
        sample(flow, noise, text, empty, guidance=2.0, settings=settings) for settings in (SEQUENTIAL, deep_only)
    )
    assert apart(deep_guided, all_guided) > 0.02
    del flow.blocks[:-1]  # what is left is the deep block, guided alike by both
    left = [sample(flow, noise, text, empty, guidance=2.0, settings=settings) for settings in (SEQUENTIAL, deep_only)]
    assert torch.equal(left[0], left[1])


def test_attention_temperature_divides_the_scores(flow_of: Callable[..., StarFlow]) -> None:
    flow, cooled = flow_of(), flow_of()
    for block in cooled.blocks:
        for layer in block.attn_blocks:
            queries = layer.attention.sizes[0]
            layer.attention.qkv.weight[:queries] /= 0.5
            layer.attention.qkv.bias[:queries] /= 0.5
    noise, text, _ = inputs(flow)
    expected = sample(cooled, noise, text, settings=SEQUENTIAL)
    for settings in (
        SamplerSettings(attention_temperature=0.5),
        SamplerSettings("jacobi", tolerance=0.0, attention_temperature=0.5),
    ):
        torch.testing.assert_close(sample(flow, noise, text, settings=settings), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("settings", [SEQUENTIAL, CONVERGED], ids=["sequential", "jacobi"])
def test_cache_of_a_block_is_freed_before_the_next_block(
    flow_of: Callable[..., StarFlow], settings: SamplerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[KeyValueCache]] = []

    class Watched(KeyValueCache):
        def __init__(self, *args: Any, **options: Any) -> None:
            assert not [cache for cache in made if cache() is not None]
            super().__init__(*args, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(inversion, "KeyValueCache", Watched)
    flow = flow_of()
    noise, text, empty = inputs(flow)
    gc.disable()  # reference counts alone must free them
    try:
        sample(flow, noise, text, empty, guidance=1.0, settings=settings)
    finally:
        gc.enable()
    assert len(made) == 3
    assert not [cache for cache in made if cache() is not None]


def test_check_can_end_the_drawing(flow_of: Callable[..., StarFlow]) -> None:
    class Gone(Exception):
        pass

    calls = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise Gone

    flow = flow_of()
    noise, text, _ = inputs(flow)
    for settings in (SEQUENTIAL, CONVERGED):
        calls.clear()
        with pytest.raises(Gone):
            sample(flow, noise, text, settings=settings, check=check)
        assert len(calls) == 3


def test_latents_can_be_given_a_gradient(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    noise, text, _ = inputs(flow)
    latents = sample(flow, noise, text, settings=CONVERGED).requires_grad_()
    flow(latents, text).z.square().sum().backward()
    assert latents.grad is not None


@pytest.mark.parametrize(
    "settings", [SEQUENTIAL, SamplerSettings("jacobi", tolerance=1e-6)], ids=["sequential", "jacobi"]
)
def test_bfloat16_weights_keep_latents_in_float32(flow_of: Callable[..., StarFlow], settings: SamplerSettings) -> None:
    flow = flow_of()
    noise, text, empty = inputs(flow)
    exact = sample(flow, noise, text, empty, guidance=1.0, settings=SEQUENTIAL)
    calls: list[None] = []
    half = sample(
        flow_of().bfloat16(), noise, text, empty, guidance=1.0, settings=settings, check=lambda: calls.append(None)
    )
    assert half.dtype == torch.float32
    assert 1e-5 < apart(half, exact) < 0.05
    if settings.method == "jacobi":  # stops where bfloat16 does, not after as many iterations as tokens
        assert len(calls) < 3 * 24 / 2


def test_values_that_are_not_finite_are_an_error(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    noise, text, _ = inputs(flow)
    flow.blocks[0].proj_out.bias[0] = float("nan")
    for settings in (SEQUENTIAL, SamplerSettings("jacobi", tolerance=1e-3)):
        with pytest.raises(DrawingFailed, match="not finite"):
            sample(flow, noise, text, settings=settings)


def test_what_does_not_fit_the_flow_is_refused(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of(patch_size=2)
    noise, text, empty = inputs(flow)
    with pytest.raises(ValueError, match=r"guidance is -1; allowed: a number of at least 0"):
        sample(flow, noise, text, empty, guidance=-1, settings=SEQUENTIAL)
    with pytest.raises(ValueError, match=r"guidance 2\.0 needs the text states of the empty prompt"):
        sample(flow, noise, text, guidance=2.0, settings=SEQUENTIAL)
    with pytest.raises(ValueError, match=r"empty prompt's text states have shape \(2, 4, 12\)"):
        sample(flow, noise, text, empty[:, :4], guidance=2.0, settings=SEQUENTIAL)
    with pytest.raises(ValueError, match=r"text states have shape None"):
        sample(flow, noise, settings=SEQUENTIAL)
    with pytest.raises(SizeNotPossible, match="5 x 4"):
        sample(flow, noise[:, :, :5], text, settings=SEQUENTIAL)
