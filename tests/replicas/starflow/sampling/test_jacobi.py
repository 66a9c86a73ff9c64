from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from replicas.starflow.linear import halving_is_faster
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling.jacobi import Precision, jacobi
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import PRESETS, SamplerSettings

TOKENS = 96
PICTURES = 6


def drawn(flow: StarFlow, settings: SamplerSettings) -> tuple[torch.Tensor, int]:
    """Latents of one picture, and in how many steps."""
    draw = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 3, 8, 12, generator=draw)
    text, empty = torch.randn(2, 1, 5, 12, generator=draw)
    steps: list[None] = []
    latents = sample(flow, noise, text, empty, guidance=1.0, settings=settings, check=lambda: steps.append(None))
    return latents, len(steps)


@pytest.mark.parametrize("rough_first", [True, False])
def test_smaller_tolerance_takes_more_iterations_to_a_smaller_error(
    flow_of: Callable[..., StarFlow], rough_first: bool
) -> None:
    flow = flow_of()
    exact, tokens = drawn(flow, SamplerSettings())
    assert tokens == 3 * TOKENS
    before = 0
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-5):
        latents, steps = drawn(flow, SamplerSettings("jacobi", tolerance=tolerance, rough_first=rough_first))
        assert float((latents - exact).norm() / exact.norm()) < 3 * tolerance  # of three blocks
        assert before < steps < tokens / 4
        before = steps


def test_the_exact_preset_is_the_sequential_result_up_to_rounding(any_flow: StarFlow) -> None:
    config, draw = any_flow.config, torch.Generator().manual_seed(3)
    side = config.img_size
    noise = torch.randn(2, config.in_channels, side, side, generator=draw)
    text, empty = torch.randn(2, 2, 5, 12, generator=draw) if config.txt_dim else (None, None)
    latents, exact = (
        sample(any_flow, noise, text, empty, guidance=1.5 if config.txt_dim else 0.0, settings=settings)
        for settings in (PRESETS["exact"], SamplerSettings(method="sequential"))
    )
    assert float((latents - exact).norm() / exact.norm()) < 1e-5


def test_tolerance_of_nothing_ends_after_as_many_iterations_as_tokens(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    exact, _ = drawn(flow, SamplerSettings())
    latents, steps = drawn(flow, SamplerSettings("jacobi", tolerance=0.0, rough_first=False))
    assert steps <= 3 * TOKENS
    torch.testing.assert_close(latents, exact, rtol=0, atol=2e-5)


def test_parts_of_one_token_take_one_iteration_each(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    exact, _ = drawn(flow, SamplerSettings())
    settings = SamplerSettings("jacobi", tolerance=1e-3, deep_part_tokens=1, shallow_part_tokens=1)
    latents, steps = drawn(flow, settings)
    assert steps == 3 * TOKENS
    torch.testing.assert_close(latents, exact, rtol=0, atol=2e-5)


@pytest.mark.skipif(not halving_is_faster(torch.device("cpu")), reason="this processor has no bfloat16 products")
def test_first_iterations_are_in_bfloat16(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    rough, _ = drawn(flow, SamplerSettings("jacobi", tolerance=0.05))
    precise, _ = drawn(flow, SamplerSettings("jacobi", tolerance=0.05, rough_first=False))
    assert 1e-4 < float((rough - precise).norm() / precise.norm()) < 0.05


def test_tolerance_below_rounding_ends(flow_of: Callable[..., StarFlow]) -> None:
    """A change that does not shrink any more is rounding, which no iteration takes away."""
    _, steps = drawn(flow_of(), SamplerSettings("jacobi", tolerance=1e-12))
    assert steps < 3 * TOKENS / 2


def test_colors_save_iterations(flow_of: Callable[..., StarFlow]) -> None:
    flow = flow_of()
    exact, _ = drawn(flow, SamplerSettings())
    before = 3 * TOKENS
    for colors in (1, 2, 8):
        latents, steps = drawn(flow, SamplerSettings("jacobi", tolerance=1e-5, rough_first=False, colors=colors))
        assert float((latents - exact).norm() / exact.norm()) < 3e-5
        assert steps < before
        before = steps


def test_as_many_colors_as_tokens_are_exact_after_one_sweep(flow_of: Callable[..., StarFlow]) -> None:
    """Then a sweep reads token after token. The second one finds nothing to change, but for rounding."""
    flow = flow_of()
    exact, _ = drawn(flow, SamplerSettings())
    settings = SamplerSettings("jacobi", tolerance=1e-4, rough_first=False, colors=1000)
    latents, steps = drawn(flow, settings)
    assert steps <= 3 * 3
    torch.testing.assert_close(latents, exact, rtol=0, atol=2e-5)


def strong(flow: StarFlow, std: float) -> StarFlow:
    """Far from the identity: Jacobi converges slowly, and errors of a block are amplified by the next."""
    draw = torch.Generator().manual_seed(3)
    for name, weight in flow.named_parameters():
        if name.endswith("proj_out.weight"):
            weight.normal_(std=std, generator=draw)
    return flow


def guided(flow: StarFlow, settings: SamplerSettings, guidance: float) -> Tensor:
    """Latents of several pictures."""
    draw = torch.Generator().manual_seed(4)
    noise = torch.randn(PICTURES, 3, 8, 8, generator=draw)
    text, empty = torch.randn(2, PICTURES, 5, 12, generator=draw)
    return sample(flow, noise, text, empty, guidance=guidance, settings=settings)


def apart(one: Tensor, other: Tensor) -> float:
    """Relative error of the items, root mean square."""
    errors = (one - other).flatten(1).norm(dim=1) / other.flatten(1).norm(dim=1)
    return float(errors.square().mean().sqrt())


def test_bfloat16_weights_lose_by_jacobi_what_they_lose_anyway(flow_of: Callable[..., StarFlow]) -> None:
    """Slow convergence is not taken for rounding."""
    options = {"num_blocks": 2, "layers_per_block": (2, 2), "norm_type": "rms_norm"}
    half = strong(flow_of(**options), 0.4).bfloat16()
    exact = guided(half, PRESETS["exact"], 7.5)
    own = apart(exact, guided(strong(flow_of(**options), 0.4), PRESETS["exact"], 7.5))
    for preset in ("draft", "standard"):
        assert apart(guided(half, PRESETS[preset], 7.5), exact) < 2 * own, preset


@pytest.mark.skipif(not halving_is_faster(torch.device("cpu")), reason="this processor has no bfloat16 products")
def test_draft_does_not_end_in_bfloat16_where_that_errs_as_much(flow_of: Callable[..., StarFlow]) -> None:
    flow = strong(flow_of(), 0.3)
    latents = guided(flow, PRESETS["draft"], 6.4)
    assert apart(latents, guided(flow, PRESETS["exact"], 6.4)) < PRESETS["draft"].tolerance


class Geometric:
    """As an inversion whose error shrinks by `rate` in every iteration, towards 1."""

    def __init__(self, rate: float) -> None:
        self.rate, self.guidance, self.inputs, self.transformer = rate, 0.0, 500, None
        self.block = SimpleNamespace(shift=0, dtype=torch.float32, inputs=lambda x: x)

    def predict(self, inputs: Tensor, transformer: object) -> tuple[Tensor, Tensor]:
        return 1 + self.rate * (inputs - 1), torch.zeros_like(inputs)

    def predict_again(self, inputs: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        return self.predict(inputs, None)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_error_is_what_the_changes_tell(rate: float) -> None:
    """Neither the last change, which is a ninth of it where convergence is slow, nor many iterations too many."""
    inversion: Any = Geometric(rate)
    x = jacobi(inversion, torch.zeros(1, 500, 1), 500, Precision(1e-3), lambda: None)
    assert 0.99 * rate * 1e-3 < apart(x, torch.ones_like(x)) < 1.01e-3


class Listed(Geometric):
    """As an inversion in bfloat16 whose iterations change the result by these."""

    def __init__(self, *changes: float) -> None:
        super().__init__(0.0)
        self.block.dtype = torch.bfloat16
        self.changes = iter(changes)

    def predict(self, inputs: Tensor, transformer: object) -> tuple[Tensor, Tensor]:
        return inputs + next(self.changes), torch.zeros_like(inputs)


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ((1.0, 2e-2, 6e-3, 5e-3, 1e-3, 1e-5, 1e-7), 6),  # one that did not shrink, and then it converges
        ((1.0, 2e-2, 6e-3, 5e-3, 1e-3, 9e-4, 1e-5, 1e-7), 7),  # two of them, not in a row
        ((1.0, 2e-2, 6e-3, 5e-3, 4e-3, 1e-5, 1e-7), 5),  # two in a row are rounding
        ((1.0, 5e-2, 4.5e-2, 4e-2, 1e-2, 1e-5, 1e-7), 6),  # too large to be rounding
    ],
)
def test_rounding_is_two_small_changes_in_a_row_that_do_not_shrink(changes: tuple[float, ...], read: int) -> None:
    inversion: Any = Listed(*changes)
    steps: list[None] = []
    jacobi(inversion, torch.zeros(1, 500, 1), 500, Precision(1e-4), lambda: steps.append(None))
    assert len(steps) == read
