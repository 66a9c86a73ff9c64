"""Tests of how a kernel gets its configuration, with a stand-in for the GPU that is asked."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from replicas.errors import AttentionNotPossible
from replicas.kernels.attention_configurations import candidates, offered, table

A100 = SimpleNamespace(major=8, minor=0, shared_memory_per_block_optin=166912, name="A100")
H100 = SimpleNamespace(major=9, minor=0, shared_memory_per_block_optin=232448, name="H100")
L4 = SimpleNamespace(major=8, minor=9, shared_memory_per_block_optin=101376, name="L4")
A10 = SimpleNamespace(major=8, minor=6, shared_memory_per_block_optin=101376, name="A10")
BLACKWELL = SimpleNamespace(major=10, minor=0, shared_memory_per_block_optin=232448, name="B200")
SMALL = SimpleNamespace(major=8, minor=9, shared_memory_per_block_optin=45_000, name="less than there is")
TINY = SimpleNamespace(major=8, minor=6, shared_memory_per_block_optin=1024, name="a small one")


def q_of(heads: int, queries: int, width: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.zeros(1, heads, queries, width, dtype=dtype)


@pytest.fixture(autouse=True)
def no_gpu_is_known(kernel_device: torch.device) -> Iterator[None]:
    """What the module under test, which imports Triton, keeps of each device."""
    from replicas.kernels import attention_tuning as module

    module._properties.cache_clear()
    yield
    module._properties.cache_clear()


def sifted(monkeypatch: pytest.MonkeyPatch, gpu: SimpleNamespace, name: str, q: torch.Tensor) -> set[object]:
    """What the tuner would measure on that GPU for such queries."""
    import triton

    from replicas.kernels import attention_tuning as module

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    configs = [
        triton.Config({"BLOCK_M": one.block_m, "BLOCK_N": one.block_n}, num_warps=one.warps, num_stages=one.stages)
        for one in dict.fromkeys(row.configuration for row in table() if row.kernel == name)
    ]
    given = {"p_q": q, "group": 1, "queries": q.shape[2]}
    return {module._configuration(one) for one in module._sift(name)(configs, given, HEAD_DIM=q.shape[3])}


@pytest.mark.parametrize(("gpu", "architecture"), [(A100, "sm_80"), (A10, "sm_86"), (L4, "sm_89"), (H100, "sm_90")])
def test_tuner_measures_what_is_offered_for_the_gpu(
    gpu: SimpleNamespace, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sifted(monkeypatch, gpu, "forward", q_of(1, 500, 64)) == set(offered("forward", "bf16", 64, architecture))
    wide = q_of(1, 500, 256, torch.float32)
    assert sifted(monkeypatch, gpu, "keys", wide) == set(offered("keys", "fp32", 256, architecture))


def test_a_gpu_with_less_shared_memory_is_offered_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = set(offered("forward", "bf16", 64, "sm_89"))
    found = sifted(monkeypatch, SMALL, "forward", q_of(1, 1, 64))
    assert found == set(offered("forward", "bf16", 64, "sm_89", 45_000))
    assert set() < found < whole


def test_a_gpu_that_nothing_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttentionNotPossible, match=r"no tile of the keys kernel .* 1024 bytes .* a small one"):
        sifted(monkeypatch, TINY, "keys", q_of(1, 1, 64))


def test_a_gpu_that_nothing_was_compiled_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    words = r"compiled for sm_100 \(B200\), only for sm_80, sm_86, sm_89, sm_90: use .*'auto'.*compile_attention"
    with pytest.raises(AttentionNotPossible, match=words):
        sifted(monkeypatch, BLACKWELL, "forward", q_of(1, 1, 64))


def test_decode_takes_the_smallest_tile_that_holds_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for rows, wanted in [(1, 16), (16, 16), (17, 64), (64, 64)]:
        found = sifted(monkeypatch, H100, "decode", q_of(1, rows, 64))
        assert {one.block_m for one in found} == {wanted}  # type: ignore[attr-defined]


def test_bucket_tells_sizes_apart_by_powers_of_two(kernel_device: torch.device) -> None:
    from replicas.kernels.attention_tuning import bucket

    found = {bucket(kernel_device, *sizes) for sizes in [(96, 1, 1000), (192, 1, 1000), (96, 2, 1000), (96, 1, 1100)]}
    assert len(found) == 4
    assert bucket(kernel_device, 96, 1, 600) == bucket(kernel_device, 100, 1, 1000)


def test_bucket_holds_rows_of_one_tile(kernel_device: torch.device) -> None:
    """Tiles hold 16, 32 or 64 rows: what was measured for one more must not be what was measured for these."""
    from replicas.kernels.attention_tuning import bucket

    for rows in (16, 32, 64):
        assert bucket(kernel_device, 96, rows, 1000) != bucket(kernel_device, 96, rows + 1, 1000)
        assert bucket(kernel_device, 96, rows, 1000) == bucket(kernel_device, 96, rows - 1, 1000)


def decoded(root: Path, *calls: str) -> list[dict[str, Any]]:
    """What Triton's own Autotuner and launcher do on an H100 for one call after the other, in one process."""
    env = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "tests.replicas.kernels.launch_tuned", *calls]
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_a_tile_chosen_for_fewer_rows_is_not_launched_for_more(root: Path) -> None:
    """More queries after few, and groups after single heads, in buckets that differ in nothing else."""
    found = decoded(root, "8:8:16", "8:8:17", "8:8:31", "8:8:1", "256:8:1", "8:8:33")
    assert [one["rows"] for one in found] == [16, 17, 31, 1, 32, 33]
    assert [one["block_m"] for one in found] == [16, 64, 64, 16, 64, 64]


def test_a_shape_is_measured_once_and_then_goes_past_the_tuner(root: Path) -> None:
    first, second, same_bucket, other_bucket, only_one = decoded(root, "8:8:1", "8:8:1", "7:7:1", "8:8:4", "8:8:60")
    assert (first["measured"], first["tuner"], first["block_n"]) == (2, 1, 128)
    assert (second["measured"], second["tuner"], second["block_n"]) == (0, 0, 128)
    assert (same_bucket["measured"], same_bucket["tuner"]) == (0, 0)
    assert (other_bucket["measured"], other_bucket["tuner"]) == (2, 1)
    assert (only_one["measured"], only_one["tuner"]) == (0, 0)


def test_deterministic_mode_takes_the_first_that_is_offered_unmeasured(root: Path) -> None:
    measured, found = decoded(root, "8:8:1", "deterministic", "8:8:1")
    first = next(one for one in offered("decode", "bf16", 64, "sm_90") if one.block_m == 16)
    assert (found["block_m"], found["block_n"], found["measured"]) == (16, first.block_n, 0)
    assert measured["block_n"] != first.block_n


def test_a_tile_too_small_for_its_rows_is_never_launched(
    kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel_device.type == "cuda":
        pytest.skip("needs the interpreter, whose tile is set here")
    from replicas.kernels import attention_triton
    from replicas.kernels import attention_tuning as module

    monkeypatch.setitem(module.INTERPRETED, "decode", (16, 16))
    monkeypatch.setattr(attention_triton, "decode_rows", lambda q: 32)
    q = torch.zeros(1, 1, 17, 32)
    with pytest.raises(AssertionError, match="a tile of 16 rows leaves out some of 17"):
        attention_triton.attend(q, q, q, 0.5)


def test_one_configuration_of_what_is_not_tuned() -> None:
    for name in ("reduce", "delta"):
        assert len({candidates(name, dtype, width) for dtype in ("bf16", "fp32") for width in (32, 256)}) == 1


@pytest.mark.slow
def test_a_launch_compiles_what_was_compiled_ahead_of_time(root: Path, tmp_path: Path) -> None:
    """Registers and shared memory of each kernel, as Triton's launcher makes it from real tensors, are the table's."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs Triton, which is not installed")
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.replicas.kernels.launch_ahead"]
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    launched = [json.loads(line) for line in said.stdout.splitlines()]
    assert [one["kernel"] for one in launched] == ["forward", "delta", "keys", "queries", "decode", "reduce", "decode"]
    for one in launched:
        asked = {**one, "architecture": "sm_90", "dtype": "bf16", "head_dim": 64}
        rows = [row for row in table() if all(getattr(row, name) == value for name, value in asked.items())]
        assert len(rows) == 1, one
