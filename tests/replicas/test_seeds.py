import pytest
import torch

from replicas import seeds


def test_normal_row_of_batch_equals_same_row_alone() -> None:
    batch = seeds.normal(seeds.generators([7, 8, 9]), (4, 5))
    alone = seeds.normal(seeds.generators([8]), (4, 5))
    assert batch.shape == (3, 4, 5)
    assert torch.equal(batch[1], alone[0])
    assert not torch.equal(batch[0], batch[1])


def test_uniform_row_of_batch_equals_same_row_alone_and_lies_in_unit_interval() -> None:
    batch = seeds.uniform(seeds.generators([7, 8]), (100,))
    assert torch.equal(batch[1], seeds.uniform(seeds.generators([8]), (100,))[0])
    assert batch.min() >= 0
    assert batch.max() < 1


def test_normal_second_draw_goes_on_where_the_first_ended() -> None:
    sources = seeds.generators([3, 4])
    first, second = seeds.normal(sources, (20,)), seeds.normal(sources, (20,))
    assert not torch.equal(first, second)


def test_normal_bfloat16_is_rounded_float32() -> None:
    rounded = seeds.normal(seeds.generators([5]), (64,), dtype=torch.bfloat16)
    assert torch.equal(rounded, seeds.normal(seeds.generators([5]), (64,)).bfloat16())


def test_generator_small_seed_is_what_torch_users_expect() -> None:
    assert torch.equal(
        torch.randn(8, generator=seeds.generator(2**32 - 1)),
        torch.randn(8, generator=torch.Generator().manual_seed(2**32 - 1)),
    )


def test_generator_seeds_that_differ_only_above_32_bits_draw_differently() -> None:
    """torch's CPU generator drops the high half of a seed: 5 and 5 + 2**32 drew the same image."""
    draws = {float(torch.randn(1, generator=seeds.generator(5 + high * 2**32))) for high in range(50)}
    assert len(draws) == 50


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_generator_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"0 <= seed < 2\*\*63"):
        seeds.generator(seed)


def test_generator_largest_seed_works() -> None:
    seeds.generator(2**63 - 1)
