"""Compiles every configuration of the attention kernels ahead of time, no GPU needed, and writes what came of it.

    python -m replicas.kernels.compile_attention          # all; writes the table and docs/attention_kernels.md
    python -m replicas.kernels.compile_attention --kernel decode --dtype bf16 --head-dim 64     # these; only prints

Registers and spills are read off the machine code (`cuobjdump`, which comes with Triton): stack or local memory in a
kernel that declares none is registers that did not fit. Matrix instructions are counted in the PTX.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from .attention_configurations import (
    CANDIDATES,
    DTYPES,
    HEAD_DIMS,
    SHARED_LIMITS_BYTES,
    TABLE,
    Compiled,
    Configuration,
    candidates,
)
from .attention_tuning import KERNELS, interpreting, sizes

PAGE = Path(__file__).parents[2] / "docs" / "attention_kernels.md"
RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
ALWAYS_FLOAT32 = ("p_lse", "p_delta", "p_part_lse", "p_parts")
MULTIPLE_OF_16 = [["tt.divisibility", 16]]  # what Triton finds out about pointers and strides when it launches


def compile_one(kernel: str, architecture: str, dtype: str, out: str, head_dim: int, one: Configuration) -> Compiled:
    """Machine code for one GPU, and its row of the table."""
    function = KERNELS[kernel]
    constants = sizes(kernel, head_dim, one.block_m, one.block_n)
    signature = {name: _type_of(name, dtype, out, constants) for name in function.arg_names}
    attributes = {
        (i,): MULTIPLE_OF_16 for i, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name.startswith("s_")
    }  # fmt: skip
    built = triton.compile(
        ASTSource(function, signature, constants, attributes),
        target=GPUTarget("cuda", int(architecture.removeprefix("sm_")), 32),
        options={"num_warps": one.warps, "num_stages": one.stages, "enable_fp_fusion": True},
    )
    registers, stack, local = _resources(built.asm["cubin"])
    ptx = built.asm["ptx"]
    return Compiled(
        kernel, architecture, dtype, out, head_dim, one.block_m, one.block_n, one.warps, one.stages, registers,
        stack + local, built.metadata.shared, len(re.findall(r"\bmma\.sync", ptx)), ptx.count("wgmma.mma_async"),
    )  # fmt: skip


def compile_all(
    kernels: Iterable[str] = tuple(CANDIDATES),
    architectures: Iterable[str] = tuple(SHARED_LIMITS_BYTES),
    dtypes: Iterable[str] = DTYPES,
    head_dims: Iterable[int] = HEAD_DIMS,
) -> Iterator[Compiled]:
    """Row by row; some take seconds."""
    for kernel, dtype, width, architecture in product(kernels, dtypes, head_dims, architectures):
        for one in candidates(kernel, dtype, width):
            for out in dict.fromkeys([dtype, "fp32"] if kernel == "decode" else [dtype]):
                yield compile_one(kernel, architecture, dtype, out, width, one)


def page(rows: list[Compiled]) -> str:
    """The table for readers: one line per configuration, the architectures side by side."""
    names = list(SHARED_LIMITS_BYTES)
    lines = [
        "# The attention kernels as compiled",
        "",
        f"Written by `python -m replicas.kernels.compile_attention` with Triton {triton.__version__}; do not edit.",
        "Ahead of time, without a GPU: nothing here is a speed. Per architecture: registers per thread / spilled bytes",
        "/ shared memory in KiB / matrix instructions in the PTX by kind: `mma.sync`, or sm_90's own",
        "`wgmma.mma_async`. What spills nothing and fits into shared memory is offered to the tuner, on that",
        "architecture alone.",
        "",
        "A `wgmma` is issued by four warps together and multiplies 64 rows, no fewer. So a tile of fewer (queries, or",
        "keys for the kernel `keys`) has `mma` on sm_90 too: those of `decode` for few queries, and most of float32,",
        "whose three TF32 products per product leave no registers for more rows.",
        "",
        "| kernel | type | out | head dim | queries × keys | warps | loads in flight | "
        + " | ".join(names) + " | offered on |",
        "| --- | --- | --- | ---: | --- | ---: | ---: |" + " --- |" * (len(names) + 1),
    ]  # fmt: skip
    by_line: dict[tuple[Any, ...], dict[str, Compiled]] = {}
    for row in rows:
        named = (row.kernel, row.dtype, row.out, row.head_dim, f"{row.block_m} × {row.block_n}", row.warps, row.stages)
        by_line.setdefault(named, {})[row.architecture] = row
    for named, found in by_line.items():
        clean = ", ".join(name for name, row in found.items() if not row.objections()) or "none"
        cells = [_cell(found[name]) if name in found else "" for name in names]
        lines.append("| " + " | ".join(map(str, (*named, *cells, clean))) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Compiled) -> str:
    kinds = [f"{count} {kind}" for count, kind in ((row.mma, "mma"), (row.wgmma, "wgmma")) if count]
    return f"{row.registers} / {row.spilled_bytes} / {row.shared_bytes / 1024:.4g} / {' + '.join(kinds) or 'none'}"


def _type_of(name: str, dtype: str, out: str, constants: dict[str, int]) -> str:
    if name in constants:
        return "constexpr"
    if name in ALWAYS_FLOAT32:
        return "*fp32"
    if name.startswith("p_"):
        return f"*{out if name == 'p_out' else dtype}"
    return "fp32" if name == "scale" else "i32"


def _resources(cubin: bytes) -> tuple[int, int, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        asked = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout  # noqa: S603 - Triton's own tool
    found = RESOURCES.search(said)
    if found is None:
        raise RuntimeError(f"cuobjdump said nothing of REG, STACK and LOCAL: {said!r}")
    registers, stack, local = map(int, found.groups())
    return registers, stack, local


def main() -> int:
    """Compile, print, and write the two files if everything was compiled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--architecture", nargs="+", choices=SHARED_LIMITS_BYTES, default=list(SHARED_LIMITS_BYTES))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--head-dim", nargs="+", type=int, choices=HEAD_DIMS, default=list(HEAD_DIMS))
    options = parser.parse_args()
    if interpreting():
        print("TRITON_INTERPRET=1 is set, and the interpreter compiles nothing: unset it", file=sys.stderr)
        return 2
    rows = []
    for row in compile_all(options.kernel, options.architecture, options.dtype, options.head_dim):
        rows.append(row)
        print(*astuple(row), "; ".join(row.objections()) or "clean", flush=True)
    asked = (options.kernel, options.architecture, options.dtype, options.head_dim)
    if asked != (list(CANDIDATES), list(SHARED_LIMITS_BYTES), list(DTYPES), list(HEAD_DIMS)):
        return 0
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Compiled)])
        writer.writerows(map(astuple, rows))
    PAGE.write_text(page(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
