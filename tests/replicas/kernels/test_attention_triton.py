"""Tests of the kernels against the float64 reference: every path through them, and what they keep to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from replicas.errors import AttentionNotPossible
from replicas.kernels.attention import attention
from replicas.kernels.attention_reference import attention_reference
from tests.replicas.kernels.attention_inputs import GRADIENT_TOLERANCES, TOLERANCES, check, error, inputs, on

# (B, H, Hkv, Tq, Tk) by the path that it takes with tiles of 32 queries and 16 keys, those of the interpreter. A GPU
# chooses other tiles: 128 and more come last in each list.
FORWARD = {
    "empty prefix, odd rest in both": (1, 2, 2, 45, 45),
    "whole tiles only, no prefix": (1, 1, 1, 64, 64),
    "prefix longer than a block, tiles end inside blocks": (2, 2, 2, 41, 99),
    "prefix shorter than a block": (1, 2, 2, 40, 47),
    "groups of two": (1, 4, 2, 35, 60),
    "one key head for all, more batch than heads": (3, 2, 1, 33, 34),
    "several tiles of any size": (1, 1, 1, 133, 150),
}
ONE_SPLIT = {
    "one query, one key": (1, 1, 1, 1, 1),
    "one query, prefix inside one block": (2, 2, 2, 1, 9),
    "one query, prefix ends with a block": (1, 2, 2, 1, 32),
    "groups packed into the tile": (1, 8, 2, 3, 70),
    "few queries, no prefix": (1, 2, 1, 12, 12),
}
SPLITS = {
    "one query, two splits, the last of one key": (1, 2, 2, 1, 129),
    "few queries, three splits, hidden keys in the last": (1, 2, 2, 7, 259),
    "first query sees nothing of the last split": (1, 1, 1, 20, 133),
    "groups packed, two splits": (2, 2, 1, 5, 140),
}
LARGE_SCORES = 1e4  # float32 keeps each to that many times its precision
PATHS = FORWARD | ONE_SPLIT | SPLITS
pytestmark = pytest.mark.usefixtures("buffers_of_nan")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, kernel_device: torch.device) -> list[str]:
    """Names of the kernels, in order."""
    from replicas.kernels import attention_triton as module

    names: list[str] = []
    launch = module.launch

    def note(name: str, *rest: Any) -> None:
        names.append(name)
        launch(name, *rest)

    monkeypatch.setattr(module, "launch", note)
    return names


@pytest.mark.parametrize("path", PATHS)
def test_kernels_are_the_reference_on_every_path(path: str, kernel_device: torch.device, launched: list[str]) -> None:
    check(PATHS[path], 32, torch.float32, kernel_device)
    if kernel_device.type == "cpu":  # each path is what its comment says
        first = ["forward"] if path in FORWARD else ["decode", "reduce"] if path in SPLITS else ["decode"]
        assert launched == [*first, "delta", "keys", "queries"]


@pytest.mark.parametrize("path", [list(FORWARD)[4], list(ONE_SPLIT)[3], list(SPLITS)[1], list(SPLITS)[2]])
def test_log_sum_exp_is_kept(path: str, kernel_device: torch.device) -> None:
    from replicas.kernels.attention_triton import attend

    (q, k, v), (q_exact, k_exact, _) = on(kernel_device, PATHS[path])
    with torch.no_grad():
        _, lse = attend(q, k, v, 0.2)
        group, offset = q.shape[1] // k.shape[1], k.shape[2] - q.shape[2]
        scores = 0.2 * q_exact @ k_exact.repeat_interleave(group, 1).transpose(2, 3)
        hidden = torch.ones_like(scores, dtype=torch.bool).triu(1 + offset)
        exact = scores.masked_fill(hidden, float("-inf")).logsumexp(-1)
    assert error(lse, exact) <= TOLERANCES[torch.float32]


def test_scores_far_apart_leave_no_nan(kernel_device: torch.device) -> None:
    """Scores of ±1e4, where an exponential without the running maximum would be inf or 0 / 0."""
    q, k, v = (x.to(kernel_device) for x in inputs(1, 1, 1, 40, 50, 32, torch.float32))
    found = attention(q * 100, k * 100, v, scale=1.0, backend="triton")
    exact = attention_reference(q.double() * 100, k.double() * 100, v.double(), scale=1.0)
    assert error(found, exact) <= LARGE_SCORES * torch.finfo(torch.float32).eps


def test_inputs_of_any_strides_are_taken(kernel_device: torch.device) -> None:
    """Head dim not contiguous; and a gradient that is one number expanded, as sum() makes it."""
    (q, k, v), exact = on(kernel_device, (1, 2, 2, 34, 40))
    strided = [x.detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_() for x in (q, k, v)]
    assert strided[0].stride(3) != 1
    attention(*strided, scale=0.3, backend="triton").sum().backward()
    attention_reference(*exact, scale=0.3).sum().backward()
    errors = [error(x.grad, y.grad) for x, y in zip(strided, exact, strict=True)]
    assert max(errors) <= GRADIENT_TOLERANCES[torch.float32]


def test_result_joins_its_heads_without_a_copy(kernel_device: torch.device) -> None:
    (q, k, v), _ = on(kernel_device, (2, 2, 2, 3, 5))
    assert attention(q, k, v, scale=0.3, backend="triton").transpose(1, 2).is_contiguous()


def test_gradients_that_nobody_asked_for_are_not_computed(kernel_device: torch.device, launched: list[str]) -> None:
    (q, k, v), _ = on(kernel_device, (1, 1, 1, 2, 3))
    attention(q, k.detach(), v.detach(), scale=0.3, backend="triton").sum().backward()
    assert launched == ["decode", "delta", "queries"]
    launched.clear()
    attention(q.detach(), k.detach(), v, scale=0.3, backend="triton").sum().backward()
    assert launched == ["decode", "delta", "keys"]
    assert k.grad is None


def test_same_input_gives_the_same_bits(kernel_device: torch.device) -> None:
    runs = []
    for _ in range(2):
        given, _ = on(kernel_device, SPLITS["groups packed, two splits"])
        out = attention(*given, scale=0.3, backend="triton")
        runs.append([out, *torch.autograd.grad(out.square().sum(), given)])
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


@pytest.mark.parametrize(
    ("programs", "keys", "processors", "wanted"),
    [
        (96, 1152, 132, (3, 384)),  # the 3B model, batch 1 with guidance, one query: two programs to a processor
        (768, 1152, 132, (1, 1152)),  # batch 8: enough programs without splits
        (1, 100, 132, (1, 128)),  # no split is shorter than 128 keys
        (1, 129, 132, (2, 128)),
        (1, 100_000, 132, (32, 3200)),  # the reduce kernel holds 32
        (100, 129, 200, (2, 128)),
    ],
)
def test_prefix_is_split_until_the_processors_are_busy(
    programs: int, keys: int, processors: int, wanted: tuple[int, int]
) -> None:
    from replicas.kernels.attention_triton import prefix_splits

    assert prefix_splits(programs, keys, processors) == wanted


def test_splits_cover_all_keys_and_none_is_empty(kernel_device: torch.device) -> None:
    from replicas.kernels.attention_triton import prefix_splits

    for keys in range(1, 6000, 37):
        for programs in (1, 7, 96):
            splits, span = prefix_splits(programs, keys, 132)
            assert (splits - 1) * span < keys <= splits * span


def test_types_and_head_dims_that_no_kernel_knows_are_refused(kernel_device: torch.device) -> None:
    odd = torch.zeros(1, 1, 2, 48, device=kernel_device)
    with pytest.raises(AttentionNotPossible, match=r"head dims \(32, 64, 128, 256\), not torch.float32 with 48"):
        attention(odd, odd, odd, scale=1.0, backend="triton")
    assert attention(odd, odd, odd, scale=1.0).shape == odd.shape


def test_kernels_are_refused_on_a_cpu_without_the_interpreter(root: Path, kernel_device: torch.device) -> None:
    code = (
        "import torch; from replicas.kernels.attention import attention; x = torch.ones(1, 1, 2, 32);"
        "attention(x, x, x, scale=1.0); attention(x, x, x, scale=1.0, backend='triton')"
    )
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    said = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert "AttentionNotPossible: the kernels run on CUDA devices, not on cpu: use backend 'auto'" in said.stderr


@pytest.mark.gpu
def test_offsets_beyond_two_to_the_31_are_reached(kernel_device: torch.device) -> None:
    """The second item of the batch lies 2 ** 31 numbers behind the first."""
    if kernel_device.type == "cpu":
        pytest.skip("needs a GPU: the interpreter copies the 4 GiB that no one touches")
    q, k, v = (x.to(kernel_device) for x in inputs(2, 1, 1, 70, 150, 64, torch.bfloat16))
    far = torch.empty(2**31 + 150 * 64, dtype=torch.bfloat16, device=kernel_device)
    k_far = far.as_strided((2, 1, 150, 64), (2**31, 150 * 64, 64, 1)).copy_(k)
    found = attention(q, k_far, v, scale=0.125, backend="triton")
    assert (
        error(found, attention_reference(q.double(), k.double(), v.double(), scale=0.125)) <= TOLERANCES[torch.bfloat16]
    )
