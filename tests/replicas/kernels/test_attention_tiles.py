"""Tests of the kernels in other tiles than the interpreter's own, and of how inputs may lie in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from replicas.kernels.attention import attention
from replicas.kernels.attention_configurations import offered
from replicas.kernels.attention_reference import attention_reference
from tests.replicas.kernels.attention_inputs import GRADIENT_TOLERANCES, TOLERANCES, check, error, inputs

TUNED = ("forward", "decode", "keys", "queries")
SHIPPED = {name: offered(name, "fp32", 32, "sm_90")[0] for name in TUNED}
# Queries and keys of a tile: fewer, as many, more queries than keys; and what a GPU is offered first
TILES: dict[str, dict[str, tuple[int, int]]] = {
    "fewer queries than keys": dict.fromkeys(TUNED, (16, 32)),
    "as many": dict.fromkeys(TUNED, (32, 32)),
    "more queries than keys": dict.fromkeys(TUNED, (64, 16)),
    "shipped": {name: (one.block_m, one.block_n) for name, one in SHIPPED.items()},
}
# (B, H, Hkv, Tq, Tk): whole tiles; rests and a prefix; groups, several tiles of any size; one split; two splits
SIZES = [(1, 1, 1, 64, 64), (1, 2, 2, 71, 99), (2, 4, 2, 133, 150), (2, 4, 2, 3, 70), (1, 2, 1, 8, 140)]
pytestmark = pytest.mark.usefixtures("buffers_of_nan")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("tiles", TILES)
def test_kernels_are_the_reference_in_other_tiles(
    tiles: str, sizes: tuple[int, int, int, int, int], kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel_device.type == "cuda":
        pytest.skip("needs the interpreter: on a GPU the tuner chooses, and the other tests see what it chose")
    from replicas.kernels import attention_tuning as module

    for name, tile in TILES[tiles].items():
        monkeypatch.setitem(module.INTERPRETED, name, tile)
    check(sizes, 32, torch.float32, kernel_device)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, kernel_device: torch.device) -> list[dict[str, Any]]:
    """Each launch's arguments by name."""
    from replicas.kernels import attention_triton as module
    from replicas.kernels.attention_tuning import KERNELS

    launches: list[dict[str, Any]] = []
    launch = module.launch

    def note(name: str, blocks: Any, head_dim: int, *arguments: Any) -> None:
        launches.append(dict(zip(KERNELS[name].arg_names, arguments, strict=False)))
        launch(name, blocks, head_dim, *arguments)

    monkeypatch.setattr(module, "launch", note)
    return launches


def rows_of(numbers: int, x: torch.Tensor) -> torch.Tensor:
    """x in a buffer whose rows hold so many numbers more."""
    wide = x.new_zeros(*x.shape[:3], x.shape[3] + numbers)
    wide[..., : x.shape[3]] = x
    return wide[..., : x.shape[3]]


def behind(numbers: int, x: torch.Tensor) -> torch.Tensor:
    """x so many numbers behind the start of its memory."""
    return x.new_zeros(x.numel() + numbers)[numbers:].view(x.shape).copy_(x)


LAYOUTS = {
    "rows of 39": lambda x: rows_of(7, x),
    "rows of 40": lambda x: rows_of(8, x),
    "a number behind an aligned one": lambda x: behind(1, x),
    "head dim not last": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "the same for all items": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_launched_that_was_not_compiled_ahead_of_time(
    layout: str, kernel_device: torch.device, launched: list[dict[str, Any]]
) -> None:
    """Pointers and strides are multiples of 16 bytes and numbers, inputs and gradients lie as they may."""
    q, k, v = (x.to(kernel_device) for x in inputs(2, 2, 2, 3, 140, 32, torch.float32))
    given = [LAYOUTS[layout](x).detach().requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in given]
    weights = LAYOUTS[layout](torch.ones_like(q))
    out, wanted = attention(*given, scale=0.3, backend="triton"), attention_reference(*exact, scale=0.3)
    assert error(out, wanted) <= TOLERANCES[torch.float32]
    found = torch.autograd.grad(out, given, weights)
    gradients = torch.autograd.grad(wanted, exact, weights.double())
    assert max(map(error, found, gradients)) <= GRADIENT_TOLERANCES[torch.float32]
    assert len(launched) == 5
    for arguments in launched:
        pointers = {name: x.data_ptr() % 16 for name, x in arguments.items() if name.startswith("p_")}
        strides = {name: x % 16 for name, x in arguments.items() if name.startswith("s_")}
        assert not any(pointers.values()), pointers
        assert not any(strides.values()), strides


def test_a_slice_of_a_cache_is_read_where_it_lies(kernel_device: torch.device, launched: list[dict[str, Any]]) -> None:
    """And strides of sizes of 1, which nobody multiplies, make no copy."""
    q, k, v = (x.to(kernel_device) for x in inputs(2, 2, 2, 1, 9, 32, torch.float32))
    q = q.as_strided(q.shape, (64, 32, 5, 1))
    attention(q, k, v, scale=0.3, backend="triton")
    (arguments,) = launched
    assert [arguments[f"p_{name}"].data_ptr() for name in "qkv"] == [x.data_ptr() for x in (q, k, v)]
    assert arguments["s_qt"] == 0
