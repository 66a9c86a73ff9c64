import torch

from replicas.starflow.cache import KeyValueCache


def cache_of(rows: int, capacity: int) -> KeyValueCache:
    return KeyValueCache(2, rows, 3, capacity, 4, device=torch.device("cpu"), dtype=torch.float32)


def test_cache_gives_back_all_that_was_appended_without_a_copy() -> None:
    cache = cache_of(2, 6)
    k, v = torch.randn(2, 2, 3, 5, 4)
    cache.append(0, k[:, :, :3], v[:, :, :3])
    keys, values = cache.append(0, k[:, :, 3:], v[:, :, 3:])
    assert torch.equal(keys, k)
    assert torch.equal(values, v)
    again, _ = cache.append(0, k[:, :, :1], v[:, :, :1])
    assert again.untyped_storage().data_ptr() == keys.untyped_storage().data_ptr()


def test_layers_do_not_share_and_forgetting_shortens_all() -> None:
    cache = cache_of(1, 4)
    ones, twos = torch.ones(1, 3, 3, 4), torch.full((1, 3, 3, 4), 2.0)
    first, _ = cache.append(0, ones, ones)
    cache.append(1, twos, twos)
    assert torch.equal(first, ones)
    cache.forget(1)
    assert cache.length == 1
    keys, values = cache.append(1, 3 * ones[:, :, :2], 4 * ones[:, :, :2])
    assert keys[0, 0, :, 0].tolist() == [2, 3, 3]
    assert values[0, 0, :, 0].tolist() == [2, 4, 4]


def test_repeat_takes_rows_of_a_shorter_cache() -> None:
    once, many = cache_of(2, 2), cache_of(3, 5)
    k, v = torch.randn(2, 2, 3, 2, 4)
    for layer in range(2):
        once.append(layer, k + layer, v + layer)
    many.repeat(once, [0, 1, 1])
    assert many.length == 2
    new = torch.randn(3, 3, 1, 4)
    keys, values = many.append(1, new, new)
    assert torch.equal(keys, torch.cat([k[[0, 1, 1]] + 1, new], 2))
    assert torch.equal(values, torch.cat([v[[0, 1, 1]] + 1, new], 2))
