"""Tests of the table of compiled configurations: complete, clean where offered, and what the compiler says today."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import astuple, replace
from itertools import product
from pathlib import Path

import pytest

from replicas.kernels import attention_configurations as module
from replicas.kernels.attention_configurations import (
    CANDIDATES,
    DTYPES,
    HEAD_DIMS,
    SHARED_LIMITS_BYTES,
    WITHOUT_PRODUCTS,
    Compiled,
    candidates,
    offered,
    table,
)

SMALLEST_SHARED_BYTES = min(SHARED_LIMITS_BYTES.values())
COMPILED_WITH = "3.7.1"
EVERY = list(product(CANDIDATES, DTYPES, HEAD_DIMS, SHARED_LIMITS_BYTES))


def test_every_candidate_was_compiled() -> None:
    """A candidate added without running the command would silently never be offered."""
    rows = {(row.kernel, row.dtype, row.head_dim, row.architecture, row.configuration) for row in table()}
    assert rows == {(*one, size) for one in EVERY for size in candidates(*one[:3])}
    assert len(table()) == len(set(table()))


def test_decode_was_compiled_for_its_result_and_for_parts() -> None:
    found = {(row.dtype, row.out) for row in table() if row.kernel == "decode"}
    assert found == {("fp16", "fp16"), ("fp16", "fp32"), ("bf16", "bf16"), ("bf16", "fp32"), ("fp32", "fp32")}


@pytest.mark.parametrize(("kernel", "dtype", "head_dim", "architecture"), EVERY)
def test_something_clean_is_offered_everywhere(kernel: str, dtype: str, head_dim: int, architecture: str) -> None:
    found = offered(kernel, dtype, head_dim, architecture)
    assert found
    for row in table():
        if (row.kernel, row.dtype, row.head_dim, row.architecture) != (kernel, dtype, head_dim, architecture):
            continue
        if row.configuration in found:
            assert row.spilled_bytes == 0
            assert row.shared_bytes <= SHARED_LIMITS_BYTES[architecture]
            assert kernel in WITHOUT_PRODUCTS or row.mma + row.wgmma > 0


@pytest.mark.parametrize(("kernel", "dtype", "head_dim", "architecture"), EVERY)
def test_something_fits_into_little_shared_memory(kernel: str, dtype: str, head_dim: int, architecture: str) -> None:
    assert offered(kernel, dtype, head_dim, architecture, SMALLEST_SHARED_BYTES)


def test_hoppers_own_instructions_are_used_where_a_tile_has_64_rows_and_nowhere_else() -> None:
    """`wgmma` takes no fewer than 64 rows: smaller tiles, those of decode for one query, have `mma` on sm_90 too."""
    with_products = [row for row in table() if row.kernel not in WITHOUT_PRODUCTS]
    for row in with_products:
        rows = row.block_n if row.kernel == "keys" else row.block_m
        hoppers = row.architecture == "sm_90" and rows >= 64
        assert (row.wgmma > 0, row.mma > 0) == (hoppers, not hoppers), row


@pytest.mark.parametrize(("kernel", "dtype"), [*product(["forward", "queries"], ["fp16", "bf16"])])
def test_a_tile_with_hoppers_own_instructions_is_offered_for_every_head_dim(kernel: str, dtype: str) -> None:
    for head_dim in HEAD_DIMS:
        assert any(one.block_m >= 64 for one in offered(kernel, dtype, head_dim, "sm_90"))


def test_page_counts_instructions_by_kind() -> None:
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    from replicas.kernels.compile_attention import page

    row = Compiled("decode", "sm_90", "bf16", "bf16", 64, 16, 64, 4, 3, 96, 0, 40_960, 32, 0)
    ampere = replace(row, architecture="sm_80", spilled_bytes=8)
    hopper = replace(row, mma=0, wgmma=16)
    whole = (
        "| decode | bf16 | bf16 | 64 | 16 × 64 | 4 | 3 | 96 / 8 / 40 / 32 mma |  |  | 96 / 0 / 40 / 16 wgmma | sm_90 |"
    )
    assert page([ampere, hopper]).splitlines()[-1] == whole


def test_one_unclean_row_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decode configuration has two rows, one per type that it writes."""
    clean = Compiled("decode", "sm_90", "bf16", "bf16", 64, 16, 64, 4, 3, 96, 0, 40_000, 32, 0)
    parts = replace(clean, out="fp32")
    for unclean, limit in [
        (parts, None),
        (replace(parts, spilled_bytes=8), None),
        (replace(parts, shared_bytes=228 * 1024), None),
        (replace(parts, mma=0), None),
        (parts, 39_000),
    ]:
        monkeypatch.setattr(module, "table", lambda rows=(clean, unclean): rows)
        found = offered.__wrapped__("decode", "bf16", 64, "sm_90", limit)
        assert found == ((clean.configuration,) if (unclean, limit) == (parts, None) else ())


def test_objections_name_the_numbers() -> None:
    row = Compiled("keys", "sm_80", "bf16", "bf16", 64, 64, 64, 4, 3, 255, 16, 200_000, 0, 0)
    assert row.objections() == [
        "spills 16 bytes", "needs 200000 bytes of shared memory of 166912", "no matrix instruction",
    ]  # fmt: skip
    assert replace(row, kernel="delta", spilled_bytes=0, shared_bytes=0).objections() == []


def test_page_shows_the_table(root: Path) -> None:
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    from replicas.kernels.compile_attention import page

    written = (root / "docs" / "attention_kernels.md").read_text(encoding="utf-8")
    assert written.replace(COMPILED_WITH, "X") == page(list(table())).replace(importlib.metadata.version("triton"), "X")


def compiled_today(root: Path, cache: Path, *asked: str) -> list[str]:
    """Lines that the command prints, with nothing in its cache."""
    if importlib.util.find_spec("triton") is None or importlib.metadata.version("triton") != COMPILED_WITH:
        pytest.skip(f"needs Triton {COMPILED_WITH}, with which the table was made")
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "replicas.kernels.compile_attention", *asked]
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()


def lines_of_table(**wanted: object) -> list[str]:
    rows = [row for row in table() if all(getattr(row, name) == value for name, value in wanted.items())]
    return [" ".join(map(str, [*astuple(row), "; ".join(row.objections()) or "clean"])) for row in rows]


@pytest.mark.slow
def test_compiler_says_today_what_the_table_says(root: Path, tmp_path: Path) -> None:
    found = compiled_today(root, tmp_path, "--kernel", "forward", "--dtype", "bf16", "--head-dim", "64")
    assert found == lines_of_table(kernel="forward", dtype="bf16", head_dim=64)
    assert any(line.endswith("clean") for line in found)


@pytest.mark.slow
@pytest.mark.skipif(
    "SWITCHBOARD_COMPILE_ALL" not in os.environ,
    reason="ten minutes of compiling: SWITCHBOARD_COMPILE_ALL=1 asks for it",
)
@pytest.mark.parametrize(("kernel", "dtype", "architecture"), [*product(CANDIDATES, DTYPES, SHARED_LIMITS_BYTES)])
def test_compiler_says_today_what_the_whole_table_says(
    kernel: str, dtype: str, architecture: str, root: Path, tmp_path: Path
) -> None:
    asked = ("--kernel", kernel, "--dtype", dtype, "--architecture", architecture)
    assert compiled_today(root, tmp_path, *asked) == lines_of_table(
        kernel=kernel, dtype=dtype, architecture=architecture
    )


def test_command_refuses_to_compile_under_the_interpreter(root: Path) -> None:
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "replicas.kernels.compile_attention"]
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (2, "")
    assert "TRITON_INTERPRET=1 is set, and the interpreter compiles nothing: unset it" in said.stderr
