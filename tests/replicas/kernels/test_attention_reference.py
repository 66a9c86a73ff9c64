"""Tests of the definition itself, against a loop over queries that knows no blocks, masks or groups."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from replicas.kernels.attention_reference import attention_reference
from tests.replicas.kernels.attention_inputs import TOLERANCES, error, inputs

# (Tq, Tk): one query alone; one query on a prefix; a block on a prefix; a square of several blocks with an odd rest;
# exactly two blocks; several blocks on a prefix
LENGTHS = [(1, 1), (1, 70), (16, 40), (150, 150), (128, 128), (131, 200)]


def one_by_one(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Query by query, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    group, offset = q.shape[1] // k.shape[1], k.shape[2] - q.shape[2]
    for head in range(q.shape[1]):
        for i in range(q.shape[2]):
            seen, kv_head = i + offset + 1, head // group
            scores = torch.einsum("bd,bjd->bj", q[:, head, i], k[:, kv_head, :seen]) * scale
            out[:, head, i] = torch.einsum("bj,bjd->bd", scores.softmax(-1), v[:, kv_head, :seen])
    return out


@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_reference_is_the_sum_over_the_keys_that_each_query_sees(queries: int, keys: int, kv_heads: int) -> None:
    q, k, v = inputs(2, 4, kv_heads, queries, keys, 24, torch.float64)
    found = attention_reference(q, k, v, scale=0.3)
    assert found.shape == q.shape
    assert error(found, one_by_one(q, k, v, 0.3)) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reference_rounds_once(dtype: torch.dtype) -> None:
    q, k, v = inputs(1, 2, 1, 33, 90, 64, dtype)
    found = attention_reference(q, k, v, scale=0.125)
    exact = one_by_one(q, k, v, 0.125)
    assert found.dtype == dtype
    half_a_step = torch.finfo(dtype).eps / 2 * exact.abs() if dtype != torch.float32 else 0.0
    assert ((found.double() - exact).abs() <= half_a_step + TOLERANCES[torch.float32] * exact.abs().max()).all()


def test_large_scores_in_float16_do_not_overflow() -> None:
    """A score of 64 · 60 · 60 is above the largest float16."""
    sixty = torch.full((1, 1, 3, 64), 60.0, dtype=torch.float16)
    assert torch.equal(attention_reference(sixty, sixty, sixty, scale=1.0), sixty)


def test_gradients_are_those_of_finite_differences() -> None:
    q, k, v = (x.clone().requires_grad_() for x in inputs(1, 4, 2, 5, 8, 3, torch.float64))
    assert torch.autograd.gradcheck(lambda *x: attention_reference(*x, scale=0.7), (q, k, v))


def test_gradients_do_not_depend_on_the_blocks() -> None:
    """70 queries are two blocks of rows; the same queries one by one are none."""
    given = [x.clone().requires_grad_() for x in inputs(1, 2, 1, 70, 75, 8, torch.float64)]
    weights = torch.randn(1, 2, 70, 8, dtype=torch.float64)
    found = torch.autograd.grad(attention_reference(*given, scale=0.5), given, weights)
    exact = torch.autograd.grad(one_by_one(*given, scale=0.5), given, weights)
    assert max(error(*pair) for pair in zip(found, exact, strict=True)) <= TOLERANCES[torch.float64]


def test_inputs_are_left_as_they_were() -> None:
    given = inputs(1, 2, 2, 3, 9, 8, torch.float32)
    before = [x.clone() for x in given]
    attention_reference(*given, scale=0.5)
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))


def test_reference_and_public_function_import_without_triton(root: Path) -> None:
    code = (
        "import sys; sys.modules['triton'] = None; import torch; from replicas.kernels.attention import attention; "
        "x = torch.ones(1, 1, 2, 32); attention(x, x, x, scale=1.0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
