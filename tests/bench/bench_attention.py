"""How long one attention call takes, against `scaled_dot_product_attention`, over the shapes of the 3B model.

    TRITON_INTERPRET=0 python -m tests.bench.bench_attention results.csv [--dtype bfloat16 float16] [--batch 1 8]
    python -m tests.bench.bench_attention results.csv --cpu

The 3B text-to-image model: 48 heads of 64 (3072 channels), 1024 image tokens behind 128 of text; guidance doubles the
batch. Cases: the whole sequence at once, 16, 64 and 256 new tokens on a cached prefix, and a single one; the forward
pass, and for the whole sequence, which training runs, the backward pass. Contenders:

    ours            `replicas.kernels.attention.attention`, held to its kernels
    flash           scaled_dot_product_attention held to its flash backend; its lower-right bias on a prefix; left out,
                    which is said, in float32, which it does not know
    released call   what STARFlow's released code asks for: `is_causal` on a square, else a dense boolean mask that it
                    builds in every call, any backend

On a GPU the kernels' tests run first, on that GPU, and every case, gradients too, is compared with the reference before
it is timed: nothing is measured on red. The time is the GPU's between two events, after warming up, with its L2 cache
emptied (`triton.testing.do_bench`). A single token's call is also timed by the clock ("wall"), as one of many that
follow each other: there the launch from Python may take longer than the kernel. Without a GPU nothing is measured, and
that is said; --cpu times the reference on the CPU, which says nothing of the kernels, with the shapes of a small model.
Appends one CSV row per line of the table.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from replicas.kernels.attention import attention
from replicas.kernels.attention_reference import attention_reference
from tests.replicas.kernels.attention_inputs import GRADIENT_TOLERANCES, TOLERANCES, error, inputs

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "replicas" / "kernels"
COLUMNS = "what shape dtype metric unit p20 p50 p80 machine versions commit date".split()
NO_GPU = "No CUDA device here: nothing was measured, and no speed is claimed. --cpu times the reference on the CPU."
FOLLOWING = 50  # calls that follow each other in one measurement by the clock
Call = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """One shape, and whether gradients are timed too."""

    name: str
    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    backward: bool = False

    @property
    def shape(self) -> str:
        return f"B {self.batch}, H {self.heads}, Tq {self.queries}, Tk {self.keys}, D {self.width}"


@dataclass(frozen=True, slots=True)
class Row:
    """Percentiles of one measured quantity."""

    what: str
    case: Case
    dtype: torch.dtype
    metric: str
    p20_ms: float
    p50_ms: float
    p80_ms: float

    def cells(self) -> list[str]:
        """In the order of COLUMNS, up to the percentiles."""
        numbers = [f"{value:.4g}" for value in (self.p20_ms, self.p50_ms, self.p80_ms)]
        kind = str(self.dtype).removeprefix("torch.")
        return [self.what, f"{self.case.name}: {self.case.shape}", kind, self.metric, "ms", *numbers]


def cases(batches: list[int], heads: int = 48, image: int = 1024, text: int = 128, width: int = 64) -> Iterator[Case]:
    """Of one model; batches are images, and guidance makes two items of each."""
    whole = text + image
    for batch in batches:
        yield Case("whole sequence", 2 * batch, heads, whole, whole, width, backward=True)
        for block in (16, 64, 256):
            if block < image:
                for keys in (text + image // 2 + block, whole):
                    yield Case(f"block of {block}", 2 * batch, heads, block, keys, width)
        for keys in (text + image // 2, whole):
            yield Case("single token", 2 * batch, heads, 1, keys, width)


def released_call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A mask of Tq × Tk on a prefix, made anew; `is_causal` otherwise."""
    queries, keys = q.shape[2], k.shape[2]
    if queries == keys:
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=q.shape[3] ** -0.5)
    mask = torch.tril(torch.ones(queries, keys, dtype=torch.bool, device=q.device), diagonal=keys - queries)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=q.shape[3] ** -0.5)


def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's FlashAttention-2; one query needs no mask, a square its flag, a prefix the lower-right bias."""
    queries, keys = q.shape[2], k.shape[2]
    bias = causal_lower_right(queries, keys) if 1 < queries < keys else None
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return scaled_dot_product_attention(
            q, k, v, attn_mask=bias, is_causal=queries == keys > 1, scale=q.shape[3] ** -0.5
        )


def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The kernels, or an error where they do not run."""
    return attention(q, k, v, scale=q.shape[3] ** -0.5, backend="triton")


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What a CPU runs."""
    return attention(q, k, v, scale=q.shape[3] ** -0.5, backend="reference")


def measure(
    asked: list[Case], dtypes: list[torch.dtype], contenders: dict[str, Call], device: torch.device
) -> Iterator[Row]:
    """Rows of each case and contender. Raises ValueError where a result or gradient is not the reference's."""
    for dtype in dtypes:
        for case in asked:
            made = inputs(case.batch, case.heads, case.heads, case.queries, case.keys, case.width, dtype)
            given = [x.to(device).requires_grad_(case.backward) for x in made]
            floats = [x.detach().float().requires_grad_(case.backward) for x in given]
            exact = attention_reference(*floats, scale=case.width**-0.5)
            weights = torch.randn_like(exact).to(dtype)
            for what, call in contenders.items():
                if what == "flash" and dtype == torch.float32:
                    continue
                with torch.no_grad():
                    compare(what, case, dtype, call(*given), exact, TOLERANCES)
                    yield Row(what, case, dtype, "forward", *times_ms(partial(call, *given), device))
                    if case.queries == 1 and device.type == "cuda":
                        yield Row(what, case, dtype, "wall", *wall_ms(partial(call, *given), torch.cuda.synchronize))
                if case.backward:
                    back = partial(torch.autograd.grad, call(*given), given, weights, retain_graph=True)
                    wanted = torch.autograd.grad(exact, floats, weights.float(), retain_graph=True)
                    for found, one in zip(back(), wanted, strict=True):
                        compare(what, case, dtype, found, one, GRADIENT_TOLERANCES)
                    yield Row(what, case, dtype, "backward", *times_ms(back, device))


def compare(
    what: str, case: Case, dtype: torch.dtype, found: Tensor, exact: Tensor, tolerances: dict[torch.dtype, float]
) -> None:
    """Raises ValueError where they differ by more than the type and the float32 of the reference leave."""
    wrong = error(found, exact.double())
    if not wrong <= tolerances[dtype] + tolerances[torch.float32]:
        raise ValueError(f"{what} on {case.shape} {dtype} is off by {wrong:.2g}: it is not timed")


def times_ms(call: Callable[[], object], device: torch.device, seconds: float = 0.5) -> tuple[float, float, float]:
    """p20, p50 and p80 of one call."""
    if device.type == "cuda":
        from triton.testing import do_bench

        p20, p50, p80 = do_bench(call, quantiles=(0.2, 0.5, 0.8))
        return p20, p50, p80
    return wall_ms(call, lambda: None, 1, seconds)


def wall_ms(
    call: Callable[[], object], wait: Callable[[], object], following: int = FOLLOWING, seconds: float = 0.5
) -> tuple[float, float, float]:
    """p20, p50 and p80 of one of so many calls that follow each other, by the clock; `wait` is for the last to end."""
    call()
    taken: list[float] = []
    while len(taken) < 5 or following * sum(taken) < 1000 * seconds:
        wait()
        start = perf_counter()
        for _ in range(following):
            call()
        wait()
        taken.append(1000 * (perf_counter() - start) / following)
    cuts = quantiles(taken, n=10, method="inclusive")
    return cuts[1], cuts[4], cuts[7]


def machine(device: torch.device) -> str:
    """The GPU's name, or the processor's and how many of its cores are used."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    return f"{model}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"


def versions(device: torch.device) -> str:
    """Of what takes part in a call."""
    said = [f"python {platform.python_version()}", f"torch {torch.__version__}"]
    if device.type == "cuda":
        said += [f"triton {version('triton')}", f"cuda {torch.version.cuda}"]
    return ", ".join(said)


def commit() -> str:
    """Short hash, with a mark if the tree differs from it."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def tests_are_green(device: torch.device) -> bool:
    """The kernels' tests, on the device that is measured."""
    env = {**os.environ, "TRITON_INTERPRET": "0" if device.type == "cuda" else "1"}
    asked = [sys.executable, "-m", "pytest", "-q", str(TESTS)]
    return subprocess.run(asked, cwd=ROOT, env=env, check=False).returncode == 0


def write(path: Path, rows: Iterator[Row], stamp: list[str]) -> None:
    """Prints and appends each row as it comes."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in rows:
            cells = row.cells()
            writer.writerow([*cells, *stamp])
            print(f"{cells[0]:<15}{cells[1]:<58}{cells[2]:<10}{cells[3]:<10}" + "".join(f"{x:>9}" for x in cells[5:]))


def main() -> int:
    """Test, measure, print, append; or say that there is nothing to measure on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"], choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 2, 4, 8], help="images; guidance doubles them")
    parser.add_argument("--cpu", action="store_true", help="time the reference on the CPU, in float32")
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        print(NO_GPU)
        return 0
    if not options.cpu and os.environ.get("TRITON_INTERPRET", "0") != "0":
        print("TRITON_INTERPRET is set, and the interpreter is no kernel to time: unset it", file=sys.stderr)
        return 2
    device = torch.device("cpu" if options.cpu else "cuda")
    if not tests_are_green(device):
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    stamp = [machine(device), versions(device), commit(), datetime.now(UTC).date().isoformat()]
    print("; ".join(stamp))
    if options.cpu:
        print("The reference on a CPU, for a small model (8 heads of 64, 256 + 16 tokens): no kernel is measured.")
        small = list(cases([1], heads=8, image=256, text=16))
        rows = measure(small, [torch.float32], {"reference": reference, "released call": released_call}, device)
    else:
        dtypes = [getattr(torch, name) for name in options.dtype]
        if torch.float32 in dtypes:
            print("float32: PyTorch's flash attention does not know it and is left out")
        contenders = {"ours": ours, "flash": flash, "released call": released_call}
        rows = measure(list(cases(options.batch)), dtypes, contenders, device)
    print(f"{'what':<15}{'shape':<58}{'dtype':<10}{'metric':<10}{'p20 ms':>9}{'p50 ms':>9}{'p80 ms':>9}")
    write(options.path, rows, stamp)
    return 0


if __name__ == "__main__":
    sys.exit(main())
