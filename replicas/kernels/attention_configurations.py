"""Which tile sizes the attention kernels may take on which GPU: plain data, read without Triton.

`CANDIDATES` is what was thought of. `python -m replicas.kernels.compile_attention` compiles each of them ahead of time
and writes what came of it to `attention_configurations.csv` beside this file: registers, spilled bytes, shared memory,
matrix instructions. `offered` gives those whose every row is clean, and only they are ever launched.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("attention_configurations.csv")
DTYPES = ("fp16", "bf16", "fp32")
HEAD_DIMS = (32, 64, 128, 256)
# Shared memory that one block of threads may use (CUDA programming guide, technical specifications per capability).
# A100; A10, A40, RTX 30; L4, L40S, RTX 40; H100, H200. Code for one runs well only there: no other is offered any.
SHARED_LIMITS_BYTES = {"sm_80": 163 * 1024, "sm_86": 99 * 1024, "sm_89": 99 * 1024, "sm_90": 227 * 1024}
MOST_SPLITS = 32  # of a prefix; the kernel that adds them up holds so many rows at once
WITHOUT_PRODUCTS = ("reduce", "delta")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Queries and keys of a tile, warps of 32 threads, loads in flight. `reduce`: block_n splits; `delta`: no keys."""

    block_m: int
    block_n: int
    warps: int
    stages: int


def _every(*sizes: tuple[int, int, int, int]) -> tuple[Configuration, ...]:
    return tuple(Configuration(*one) for one in sizes)


# By kernel, then by (bytes of a number, head dim).
CANDIDATES: dict[str, dict[tuple[int, int], tuple[Configuration, ...]]] = {
    "forward": {
        (2, 32): _every((128, 64, 4, 3), (64, 64, 4, 3), (128, 128, 8, 3)),
        (2, 64): _every((128, 64, 8, 3), (64, 64, 4, 3), (128, 128, 8, 2)),
        (2, 128): _every((128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 3)),
        (2, 256): _every((64, 32, 8, 2)),
        (4, 32): _every((64, 32, 4, 2), (64, 64, 8, 2)),
        (4, 64): _every((64, 32, 4, 2), (32, 32, 4, 2)),
        (4, 128): _every((32, 32, 8, 1), (16, 32, 4, 2)),
        (4, 256): _every((16, 16, 4, 1), (32, 16, 8, 1)),
    },
    "decode": {
        (2, 32): _every((16, 64, 4, 3), (16, 128, 4, 3), (64, 64, 4, 3)),
        (2, 64): _every((16, 64, 4, 3), (16, 128, 4, 2), (64, 64, 4, 3)),
        (2, 128): _every((16, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 3)),
        (2, 256): _every((16, 32, 4, 2), (64, 32, 8, 2)),
        (4, 32): _every((16, 64, 4, 2), (64, 32, 4, 2)),
        (4, 64): _every((16, 64, 4, 2), (32, 32, 4, 2)),
        (4, 128): _every((16, 32, 4, 2), (32, 32, 8, 1)),
        (4, 256): _every((16, 16, 4, 1), (16, 32, 8, 1)),
    },
    "keys": {
        (2, 32): _every((32, 64, 4, 2), (32, 128, 8, 2), (64, 64, 8, 2)),
        (2, 64): _every((32, 64, 4, 2), (32, 128, 8, 2), (64, 64, 8, 2)),
        (2, 128): _every((32, 64, 8, 2), (32, 128, 8, 2)),
        (2, 256): _every((32, 32, 8, 1)),
        (4, 32): _every((32, 64, 8, 1), (16, 32, 4, 1)),
        (4, 64): _every((32, 32, 4, 1), (32, 32, 8, 1)),
        (4, 128): _every((16, 16, 4, 1), (16, 16, 8, 1)),
        (4, 256): _every((16, 16, 8, 1), (16, 32, 8, 1)),
    },
    "queries": {
        (2, 32): _every((64, 64, 4, 2), (128, 64, 8, 2)),
        (2, 64): _every((64, 64, 4, 2), (64, 64, 8, 2), (128, 64, 8, 2)),
        (2, 128): _every((64, 64, 8, 2), (64, 32, 4, 2)),
        (2, 256): _every((32, 32, 8, 1), (64, 32, 8, 2)),
        (4, 32): _every((32, 32, 4, 1), (64, 32, 8, 1)),
        (4, 64): _every((32, 32, 4, 1), (64, 32, 8, 1)),
        (4, 128): _every((16, 16, 4, 1), (16, 16, 8, 1)),
        (4, 256): _every((16, 16, 8, 1), (32, 16, 8, 1)),
    },
    "reduce": {(size, width): _every((1, MOST_SPLITS, 4, 1)) for size in (2, 4) for width in HEAD_DIMS},
    "delta": {(size, width): _every((32, 1, 4, 1)) for size in (2, 4) for width in HEAD_DIMS},
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One row of the table: a configuration as compiled for one architecture, and what the compiler made of it.

    `out` is the type that the kernel writes: `decode` writes the result, or float32 parts of it.
    """

    kernel: str
    architecture: str
    dtype: str
    out: str
    head_dim: int
    block_m: int
    block_n: int
    warps: int
    stages: int
    registers: int
    spilled_bytes: int
    shared_bytes: int
    mma: int
    wgmma: int

    @property
    def configuration(self) -> Configuration:
        return Configuration(self.block_m, self.block_n, self.warps, self.stages)

    def objections(self, shared_limit_bytes: int | None = None) -> list[str]:
        """Why this is not offered; empty where it is. The limit is the architecture's, if none is given."""
        limit = SHARED_LIMITS_BYTES[self.architecture] if shared_limit_bytes is None else shared_limit_bytes
        said = []
        if self.spilled_bytes:
            said.append(f"spills {self.spilled_bytes} bytes")
        if self.shared_bytes > limit:
            said.append(f"needs {self.shared_bytes} bytes of shared memory of {limit}")
        if self.kernel not in WITHOUT_PRODUCTS and not (self.mma or self.wgmma):
            said.append("no matrix instruction")
        return said


def candidates(kernel: str, dtype: str, head_dim: int) -> tuple[Configuration, ...]:
    """What the command compiles."""
    return CANDIDATES[kernel][4 if dtype == "fp32" else 2, head_dim]


@cache
def table(path: Path = TABLE) -> tuple[Compiled, ...]:
    """The rows that the command wrote."""
    with path.open(newline="") as file:
        return tuple(_row(written) for written in csv.DictReader(file))


def _row(written: dict[str, str]) -> Compiled:
    values: dict[str, Any] = {
        name: written[name] if kind == "str" else int(written[name]) for name, kind in Compiled.__annotations__.items()
    }
    return Compiled(**values)


@cache
def offered(
    kernel: str, dtype: str, head_dim: int, architecture: str, shared_limit_bytes: int | None = None
) -> tuple[Configuration, ...]:
    """Configurations that no row of the table speaks against, in its order; on a smaller GPU give its own limit."""
    rows = [
        row for row in table()
        if (row.kernel, row.dtype, row.head_dim, row.architecture) == (kernel, dtype, head_dim, architecture)
    ]  # fmt: skip
    refused = {row.configuration for row in rows if row.objections(shared_limit_bytes)}
    return tuple(dict.fromkeys(row.configuration for row in rows if row.configuration not in refused))
