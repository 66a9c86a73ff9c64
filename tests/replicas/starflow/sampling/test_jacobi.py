from collections.abc import Callable

import pytest
import torch

from replicas.starflow.linear import halving_is_faster
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import SamplerSettings

TOKENS = 96


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
