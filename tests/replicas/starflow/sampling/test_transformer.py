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
