"""The flow is invertible, causal, and its log-determinant is that of its Jacobian."""

import numpy as np
import pytest
import torch

from replicas.embedded_flow import EmbeddedFlowTier, Flow, FlowBlock
from replicas.errors import NotLoaded, UnknownPreset
from replicas.patches import TOKENS
from replicas.text import WordTokenizer
from replicas.tier import GenerationRequest

PROMPTS = ["a cat", "two dogs", "the cat is above the dog"]


def scrambled(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random output layers: a fresh block is the identity and would prove nothing."""
    torch.manual_seed(seed)
    for block in module.modules():
        if isinstance(block, FlowBlock):
            torch.nn.init.normal_(block.out.weight, std=0.05)
            torch.nn.init.normal_(block.out.bias, std=0.2)
    return module.eval().requires_grad_(False)


@pytest.fixture
def flow() -> Flow:
    torch.manual_seed(1)
    return scrambled(Flow(WordTokenizer().size, width=64, layers=2, shallow=2, shallow_width=32))


def test_inverse_returns_the_input(flow):
    ids, x = WordTokenizer()(PROMPTS), torch.randn(3, TOKENS, 16)
    z, _ = flow(x, ids)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(flow.inverse(z, ids, guidance=0.0), x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_log_determinant_is_that_of_the_jacobian(reverse):
    torch.manual_seed(2)
    block = scrambled(FlowBlock(32, 1, reverse, vocabulary_size=WordTokenizer().size)).double()
    ids, x = WordTokenizer()(PROMPTS[:1]), torch.randn(1, TOKENS, 16, dtype=torch.float64)
    _, claimed = block(x, ids)
    jacobian = torch.func.jacrev(lambda v: block(v.reshape(1, TOKENS, 16), ids)[0].reshape(-1), chunk_size=128)
    _, log_determinant = torch.linalg.slogdet(jacobian(x.reshape(-1)))
    torch.testing.assert_close(claimed[0], log_determinant, atol=1e-6, rtol=1e-6)


def test_forward_is_causal_in_reading_order():
    block = scrambled(FlowBlock(32, 2, reverse=False))
    x = torch.randn(1, TOKENS, 16)
    changed = x.clone()
    changed[:, 20] += 1
    before, after = block(x, None)[0], block(changed, None)[0]
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 21:], after[:, 21:])


def test_text_changes_the_deep_block_only(flow):
    x = torch.randn(1, TOKENS, 16)
    cat, dog = (WordTokenizer()([p]) for p in ("a cat", "a dog"))
    assert not torch.allclose(flow(x, cat)[0], flow(x, dog)[0])
    for block in flow.flows[:-1]:
        assert torch.equal(block(x, cat)[0], block(x, dog)[0])


def test_guidance_zero_is_plain_sampling_and_positive_differs(flow):
    ids, z = WordTokenizer()(PROMPTS), torch.randn(3, TOKENS, 16)
    assert not torch.allclose(flow.inverse(z, ids, 0.0), flow.inverse(z, ids, 2.0))


def test_tier_option_out_of_range_is_refused():
    with pytest.raises(UnknownPreset, match=r"guidance = -1; allowed: a number from 0 to 10"):
        EmbeddedFlowTier(presets={"p": {"guidance": -1}})
    with pytest.raises(UnknownPreset, match="allows: guidance, temperature"):
        EmbeddedFlowTier(presets={"p": {"steps": 3}})


def test_tier_not_loaded_says_so():
    with pytest.raises(NotLoaded, match="call load"):
        EmbeddedFlowTier().generate([GenerationRequest("a cat", 1, "standard")])


def test_tier_batch_draws_what_each_alone_draws():
    tier = EmbeddedFlowTier(presets={"standard": {"guidance": 2.0}})
    tier.load("cpu")
    requests = [GenerationRequest(prompt, seed, "standard") for seed, prompt in enumerate(PROMPTS)]
    together = tier.generate(requests).astype(int)
    alone = np.concatenate([tier.generate([request]) for request in requests]).astype(int)
    assert np.abs(together - alone).mean() < 0.5  # rounding of matrix products of another shape
    assert (tier.generate(requests).astype(int) == together).all()
