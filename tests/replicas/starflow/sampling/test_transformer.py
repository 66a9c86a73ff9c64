import pytest
import torch

from replicas.starflow.block import FlowBlock
from replicas.starflow.cache import KeyValueCache
from replicas.starflow.linear import halved, packed
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling.transformer import Transformer

WAYS = {
    "as they are": (lambda linear: linear, 1e-5),
    "packed": (lambda linear: packed(linear, 2), 1e-5),
    "halved": (halved, 3e-2),
}


def cache_of(block: FlowBlock) -> KeyValueCache:
    return KeyValueCache(
        len(block.attn_blocks), 2, block.kv_heads, 20, block.head_dim, device=torch.device("cpu"), dtype=torch.float32
    )


@pytest.mark.parametrize("way", WAYS)
def test_layers_give_what_the_block_gives(any_flow: StarFlow, way: str) -> None:
    """Tokens in steps of 9, 1 and 10, as prefix, single token and part, against all of them at once."""
    multiply, tolerance = WAYS[way]
    for index, block in enumerate(any_flow.blocks):
        if not isinstance(block, FlowBlock):
            continue
        hidden = torch.randn(2, 20, block.width, generator=torch.Generator().manual_seed(index))
        by = any_flow.rotation(index, 6, 6, any_flow.config.txt_size)
        by = None if by is None else by.part(0, 20)
        with torch.inference_mode():
            expected = block.run(hidden, by)
            transformer, cache = Transformer(block, by, multiply, 1.0), cache_of(block)
            parts = [transformer.run(part.clone(), cache) for part in hidden.split([9, 1, 10], 1)]
        assert cache.length == 20
        assert float((torch.cat(parts, 1) - expected).norm() / expected.norm()) < tolerance


def test_tokens_read_again_replace_what_was_read_of_them(any_flow: StarFlow) -> None:
    """Every third token of a wrong reading is set right, then the others, in reading order of their positions mod 3."""
    for index, block in enumerate(any_flow.blocks):
        if not isinstance(block, FlowBlock):
            continue
        hidden = torch.randn(2, 18, block.width, generator=torch.Generator().manual_seed(index))
        by = any_flow.rotation(index, 6, 6, any_flow.config.txt_size)
        by = None if by is None else by.part(0, 18)
        with torch.inference_mode():
            expected = block.run(hidden, by)
            transformer, cache = Transformer(block, by, lambda linear: linear, 1.0), cache_of(block)
            transformer.run(torch.cat([hidden[:, :3], torch.ones_like(hidden[:, 3:])], 1), cache)
            for _ in range(18):  # one more token is right after each sweep, at least
                again = torch.empty_like(hidden)
                for at in (slice(3, 18, 3), slice(4, 18, 3), slice(5, 18, 3)):
                    again[:, at] = transformer.run_again(hidden[:, at].clone(), cache, at, None)
        torch.testing.assert_close(again[:, 3:], expected[:, 3:], rtol=0, atol=2e-5)


def test_rows_that_stand_still_keep_what_was_read_of_them(any_flow: StarFlow) -> None:
    block = any_flow.blocks[-1]
    hidden = torch.randn(2, 6, block.width)
    with torch.inference_mode():
        by = any_flow.rotation(len(any_flow.blocks) - 1, 6, 6, any_flow.config.txt_size)
        transformer, cache = Transformer(block, by, lambda linear: linear, 1.0), cache_of(block)
        transformer.run(hidden.clone(), cache)
        nothing = torch.zeros(2, block.kv_heads, 1, block.head_dim)
        before = [held.clone() for held in cache.append(0, nothing, nothing)]
        cache.forget(6)
        transformer.run_again(torch.ones_like(hidden), cache, slice(0, 6, 1), torch.tensor([True, False]))
        after = cache.append(0, nothing, nothing)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[1], other[1])
        assert not torch.equal(one[0], other[0])
