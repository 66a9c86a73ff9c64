"""The flow is exactly invertible in the small, causal, honest about its Jacobian, and as large as its layout says."""

import pytest
import torch

from replicas.errors import SizeNotPossible
from replicas.starflow.config import FlowConfig
from replicas.starflow.model import StarFlow

SMALL = {
    "in_channels": 2, "img_size": 4, "patch_size": 1, "channels": 32, "num_blocks": 2, "layers_per_block": [1, 2],
    "head_dim": 32, "rope": True, "sos": True, "txt_size": 3, "txt_dim": 8, "cond_top_only": True,
    "use_softplus": True, "use_final_norm": True, "soft_clip": 4,
}  # fmt: skip
VARIANTS = {
    "as released": {},
    "no start token, exponential scale": {"sos": False, "use_softplus": False},
    "learned positions": {"rope": False},
    "text everywhere, other order, patches": {"cond_top_only": False, "seq_order": "L2R", "patch_size": 2},
}


def flow_of(**change) -> StarFlow:
    """Random output layers: a fresh block is the identity and would prove nothing."""
    torch.manual_seed(0)
    flow = StarFlow(FlowConfig.from_constructor({**SMALL, **change}))
    for name, value in flow.named_parameters():
        if "proj_out" in name:
            torch.nn.init.normal_(value, std=0.2)
    return flow.eval().requires_grad_(False).double()


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS)
def test_log_determinant_is_that_of_the_jacobian(change):
    flow = flow_of(**change)
    x, text = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: flow(v.reshape(x.shape), text).z.reshape(-1))(x.reshape(-1))
    claimed = sum(term.sum() for term in flow(x, text).log_determinants)
    assert claimed.abs() > 0.1
    torch.testing.assert_close(claimed, torch.linalg.slogdet(jacobian)[1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS)
def test_each_block_is_causal_in_its_reading_order(change):
    flow = flow_of(**change)
    tokens = flow.to_tokens(torch.randn(1, 2, 4, 4, dtype=torch.float64))
    text = torch.randn(1, 3, 8, dtype=torch.float64)
    for index, block in enumerate(flow.blocks):
        by = flow.rotation(index, 4, 4, 3)
        changed = block.turn(tokens).clone()
        middle = changed.shape[1] // 2
        changed[:, middle] += 1
        before, after = (block.turn(block(x, text, by)[0]) for x in (tokens, block.turn(changed)))
        assert torch.equal(before[:, :middle], after[:, :middle])
        assert not torch.isclose(before[:, middle:], after[:, middle:]).all(-1).any()


def test_text_reaches_the_deep_block_only_and_its_order_matters():
    flow = flow_of(layers_per_block=[1, 1, 1], num_blocks=3)
    x, text = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64)
    one, other = flow(x, text), flow(x, text.flip(1))
    for index in range(2):
        assert torch.equal(one.log_determinants[index], other.log_determinants[index])
    assert not torch.isclose(one.z, other.z).all()


def test_tokens_and_back_is_the_picture_and_a_token_is_a_patch():
    flow = flow_of(patch_size=2)
    x = torch.arange(2 * 2 * 4 * 6, dtype=torch.float64).reshape(2, 2, 4, 6)
    tokens = flow.to_tokens(x)
    assert tokens.shape == (2, 6, 8)
    assert tokens[0, 1].tolist() == [2, 26, 3, 27, 8, 32, 9, 33]  # rows, columns, channels of the second patch
    assert torch.equal(flow.from_tokens(tokens, 4, 6), x)


def test_a_block_without_layers_changes_nothing():
    flow = flow_of(layers_per_block=[0, 1])
    encoded = flow(torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64))
    assert torch.equal(encoded.between[0], encoded.between[1])
    assert not encoded.log_determinants[0].any()


@pytest.mark.parametrize("top_only", [True, False])
def test_a_single_token_without_a_start_token_passes_unchanged(top_only):
    x, text = torch.randn(1, 2, 1, 1, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64)
    assert torch.equal(flow_of(sos=False, cond_top_only=top_only)(x, text).z, x)


def test_a_grid_that_the_configuration_cannot_serve_is_refused():
    text = torch.randn(1, 3, 8, dtype=torch.float64)
    with pytest.raises(SizeNotPossible, match="3 x 4 latent pixels: both must be multiples of the patch size, 2"):
        flow_of(patch_size=2)(torch.randn(1, 2, 3, 4, dtype=torch.float64), text)
    with pytest.raises(SizeNotPossible, match=r"learned positions .* serves 4 x 4 only"):
        flow_of(rope=False)(torch.randn(1, 2, 4, 6, dtype=torch.float64), text)
    assert flow_of()(torch.randn(1, 2, 4, 6, dtype=torch.float64), text).z.shape == (1, 2, 4, 6)


@pytest.mark.parametrize("shape", [None, (1, 3, 7), (2, 3, 8), (1, 0, 8), (3, 8)])
def test_text_states_of_the_wrong_shape_are_refused(shape):
    text = None if shape is None else torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"this flow wants \[1, L, 8\]"):
        flow_of()(torch.randn(1, 2, 4, 4, dtype=torch.float64), text)


def test_the_large_text_to_image_model_has_the_parameters_of_its_layout():
    width, layers, text_width, channels = 3072, 5 * 2 + 24, 2048, 4
    config = FlowConfig(
        in_channels=channels, img_size=32, patch_size=1, channels=width, num_blocks=6,
        layers_per_block=(2, 2, 2, 2, 2, 24), rope=True, sos=True, txt_size=128, txt_dim=text_width,
        cond_top_only=True, use_softplus=True, use_final_norm=True, soft_clip=4, seq_order="L2R",
    )  # fmt: skip
    with torch.device("meta"):
        flow = StarFlow(config)
    a_norm = 2 * width
    attention = a_norm + (3 * width * width + 3 * width) + (width * width + width)
    mlp = a_norm + (4 * width * width + 4 * width) + (4 * width * width + width)
    a_block = (channels * width + width) + (width * 2 * channels + 2 * channels) + channels + width
    text = text_width * width + width
    count = sum(value.numel() for value in flow.parameters())
    assert count == layers * (attention + mlp) + 6 * a_block + text == 3_858_281_544
