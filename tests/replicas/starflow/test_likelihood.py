"""The likelihood is a density: checked against the whole Jacobian, and by adding it up over the plane."""

import math

import pytest
import torch
from torch import Tensor, nn

from replicas.starflow.config import FlowConfig
from replicas.starflow.likelihood import log_likelihood
from replicas.starflow.model import StarFlow

WIDTH = 16
STARFLOW = {
    "in_channels": 2, "img_size": 3, "patch_size": 1, "channels": 32, "num_blocks": 3, "layers_per_block": (1, 0, 2),
    "head_dim": 32, "rope": True, "sos": True, "txt_size": 4, "txt_dim": WIDTH, "cond_top_only": True,
    "use_softplus": True, "use_final_norm": True, "soft_clip": 4.0, "seq_order": "L2R",
}  # fmt: skip
TARFLOW = {
    "in_channels": 1, "img_size": 4, "patch_size": 2, "channels": 32, "num_blocks": 2, "layers_per_block": (1, 1),
    "head_dim": 32, "txt_size": 4, "txt_dim": WIDTH, "norm_type": "rms_norm",
}  # fmt: skip


def scrambled(**options: object) -> StarFlow:
    """A flow in float64 that bends: a fresh one is the identity and would prove nothing."""
    torch.manual_seed(0)
    flow = StarFlow(FlowConfig.from_constructor(options)).double()
    for name, parameter in flow.named_parameters():
        if "proj_out" in name:
            nn.init.normal_(parameter, std=0.2)
    return flow.eval().requires_grad_(False)


def some_text(rows: int) -> Tensor:
    return torch.randn(rows, 4, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", [STARFLOW, TARFLOW], ids=["starflow", "tarflow"])
def test_log_likelihood_is_that_of_the_whole_jacobian(options: dict[str, object]) -> None:
    flow, text = scrambled(**options), some_text(2)
    side, channels = flow.config.img_size, flow.config.in_channels
    x = torch.randn(2, channels, side, side, dtype=torch.float64)
    found = log_likelihood(flow, x, text)
    for row in range(2):

        def noise_of(values: Tensor, row: int = row) -> Tensor:
            return flow(values.reshape(1, channels, side, side), text[row : row + 1]).z.flatten()

        jacobian = torch.func.jacrev(noise_of)(x[row].flatten())
        log_normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise_of(x[row])).sum()
        expected = log_normal + torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found.nats[row], expected, atol=1e-9, rtol=1e-9)
        assert abs(torch.linalg.slogdet(jacobian).logabsdet) > 0.01
    assert found.dimensions == x[0].numel()
    torch.testing.assert_close(found.bits_per_dimension, -found.nats / found.dimensions / math.log(2))


def test_density_of_two_dimensions_adds_up_to_one() -> None:
    flow = scrambled(
        in_channels=1, img_size=1, patch_size=1, channels=32, num_blocks=2, layers_per_block=(1, 1), head_dim=32,
        rope=True, sos=True, use_softplus=True, soft_clip=4.0,
    )  # fmt: skip
    reach, count = 16.0, 129  # steps of a quarter: sums of smooth densities err far less than their steps
    axis = torch.linspace(-reach, reach, count, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)  # a grid of one row and two columns
    density = torch.cat([log_likelihood(flow, part).nats.exp() for part in points.split(20_000)])
    total = density.sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-6)
    at_border = density.reshape(count, count)[[0, -1]].sum() + density.reshape(count, count)[:, [0, -1]].sum()
    assert at_border < 1e-9
    assert log_likelihood(flow, points[:1]).dimensions == 2


def test_log_likelihood_of_an_untrained_flow_is_the_standard_normals() -> None:
    flow = StarFlow(FlowConfig.from_constructor(STARFLOW))
    for name, parameter in flow.named_parameters():
        if "proj_out" in name:
            nn.init.zeros_(parameter)
    x = torch.randn(3, 2, 3, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x.double()).flatten(1).sum(1)
    found = log_likelihood(flow, x, some_text(3).float()).nats
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
