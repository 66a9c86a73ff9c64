import pytest
import torch
from torch import Tensor, nn

from replicas.errors import DrawingFailed
from replicas.starflow.config import FlowConfig
from replicas.starflow.denoise import denoise
from replicas.starflow.model import StarFlow

SIGMA = 0.3


@pytest.fixture
def flow() -> StarFlow:
    torch.manual_seed(0)
    config = FlowConfig(
        in_channels=2, img_size=4, patch_size=1, channels=32, num_blocks=2, layers_per_block=(1, 1), head_dim=32,
        rope=True, sos=True, txt_size=4, txt_dim=8, cond_top_only=True, use_softplus=True, soft_clip=4.0,
    )  # fmt: skip
    return StarFlow(config).eval().requires_grad_(False)


def bend(flow: StarFlow) -> None:
    for name, parameter in flow.named_parameters():
        if "proj_out" in name:
            nn.init.normal_(parameter, std=0.2)


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(3, 2, 4, 4)


@pytest.fixture
def text() -> Tensor:
    return torch.randn(3, 4, 8)


def test_denoising_what_is_standard_normal_with_its_noise_shrinks_it(
    flow: StarFlow, latents: Tensor, text: Tensor
) -> None:
    """An untrained flow says x ~ N(0, 1); if σ² of that variance is noise, the clean mean is (1 − σ²) x."""
    for name, parameter in flow.named_parameters():
        if "proj_out" in name:
            nn.init.zeros_(parameter)
    torch.testing.assert_close(denoise(flow, latents, text, SIGMA), (1 - SIGMA**2) * latents)


def test_denoising_is_the_released_step(flow: StarFlow, latents: Tensor, text: Tensor) -> None:
    """There: the gradient of the mean loss over all values, times the number of values, times σ²."""
    bend(flow)
    x = latents.clone().requires_grad_(True)
    encoded = flow(x, text)
    loss = 0.5 * encoded.z.square().mean() - sum(term.mean() for term in encoded.log_determinants)
    (gradient,) = torch.autograd.grad(loss, x)
    expected = latents - SIGMA**2 * latents.numel() * gradient
    found = denoise(flow, latents, text, SIGMA)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - latents).abs().max() > 0.01
    assert not found.requires_grad


def test_item_is_the_same_bits_alone_and_in_a_batch(flow: StarFlow, latents: Tensor, text: Tensor) -> None:
    bend(flow)
    together = denoise(flow, latents, text, SIGMA)
    alone = torch.cat([denoise(flow, latents[i : i + 1], text[i : i + 1], SIGMA) for i in range(3)])
    assert torch.equal(together, alone)


def test_denoising_works_where_no_gradients_are_recorded(flow: StarFlow) -> None:
    """A tier draws under inference_mode, whose tensors take part in no gradient."""
    bend(flow)
    with torch.inference_mode():
        latents, text = torch.randn(1, 2, 4, 4), torch.randn(1, 4, 8)
        found = denoise(flow, latents, text, SIGMA)
    assert not torch.equal(found, latents)
    assert denoise(flow, latents[:0], text[:0], SIGMA).shape == (0, 2, 4, 4)


def test_latents_that_are_not_finite_are_no_picture(flow: StarFlow, text: Tensor) -> None:
    with pytest.raises(DrawingFailed, match="not finite"):
        denoise(flow, torch.full((3, 2, 4, 4), torch.inf), text, SIGMA)
