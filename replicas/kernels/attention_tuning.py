"""Launches an attention kernel with the configuration that was fastest when such a shape first came.

`triton.autotune` measures what `attention_configurations.py` offers for the GPU at hand, once per head dim, types and
bucket of lengths; the best is kept in memory, and later launches go past the tuner. So the first call of a bucket
compiles and measures, seconds long: make one of each length before requests come, and before a CUDA graph is captured.
Another tile sums in another order, so last bits may differ between processes; where
`torch.use_deterministic_algorithms(True)` is set, nothing is measured and the first that is offered is taken.
Under Triton's interpreter there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from replicas.errors import AttentionNotPossible

from .attention_backward import delta_kernel, keys_kernel, queries_kernel
from .attention_configurations import HEAD_DIMS, MOST_SPLITS, SHARED_LIMITS_BYTES, Configuration, candidates, offered
from .attention_forward import decode_kernel, forward_kernel, reduce_kernel

KERNELS = {
    "forward": forward_kernel, "decode": decode_kernel, "reduce": reduce_kernel,
    "keys": keys_kernel, "queries": queries_kernel, "delta": delta_kernel,
}  # fmt: skip
TUNED = ("forward", "decode", "keys", "queries")
BUCKET_AT = {name: KERNELS[name].arg_names.index("bucket") for name in TUNED}  # among a kernel's arguments
GROUP_AT = KERNELS["decode"].arg_names.index("group")  # and the queries follow
SHORT_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
# Queries and keys of a tile under the interpreter, where nothing is compiled and any size fits.
INTERPRETED = {**dict.fromkeys(TUNED, (32, 16)), "reduce": (1, MOST_SPLITS), "delta": (32, 1)}


def interpreting() -> bool:
    """Whether the kernels run on the CPU: TRITON_INTERPRET=1 was set before Triton was imported."""
    return not isinstance(forward_kernel, triton.runtime.JITFunction)


def launch(name: str, blocks: Callable[[int, int], int], head_dim: int, *arguments: Any) -> None:
    """Runs the kernel on `blocks(block_m, block_n)` programs."""
    kernel = KERNELS[name]
    rows = _rows(name, arguments)

    def grid(block_m: int, block_n: int) -> tuple[int]:
        assert rows is None or block_m >= rows, f"a tile of {block_m} rows leaves out some of {rows}"
        return (blocks(block_m, block_n),)

    if interpreting():
        block_m, block_n = INTERPRETED[name]
        kernel[grid(block_m, block_n)](*arguments, **sizes(name, head_dim, block_m, block_n))
        return
    q = arguments[0]
    key = (name, q.device, *_kinds(name, arguments), head_dim, torch.are_deterministic_algorithms_enabled())
    with torch.cuda.device(q.device):
        one = _chosen.get(key)
        if one is None:
            one = _chosen[key] = _choose(name, grid, head_dim, rows, arguments)
        kernel[grid(one.block_m, one.block_n)](
            *arguments, **sizes(name, head_dim, one.block_m, one.block_n),
            num_warps=one.warps, num_stages=one.stages, enable_fp_fusion=True,
        )  # fmt: skip


_chosen: dict[tuple[Any, ...], Configuration] = {}  # what a launch takes, by all that the choice may depend on


def _choose(
    name: str, grid: Callable[[int, int], tuple[int]], head_dim: int, rows: int | None, arguments: tuple[Any, ...]
) -> Configuration:
    """The fastest, measured on these arguments; the only one or, where bits must not differ, the first is not."""
    if name not in TUNED:
        return candidates(name, "fp32", head_dim)[0]
    fitting = _fitting(name, arguments[0], rows)
    if len(fitting) == 1 or torch.are_deterministic_algorithms_enabled():
        return fitting[0]
    tuner = _tuner(name)
    tuner[lambda given: grid(given["BLOCK_M"], given["BLOCK_N"])](
        *arguments, HEAD_DIM=head_dim, enable_fp_fusion=True
    )  # fmt: skip
    return _configuration(tuner.best_config)


def _rows(name: str, arguments: tuple[Any, ...]) -> int | None:
    """How many rows one tile must hold: those of the decode kernel; others take as many tiles as they need."""
    return int(arguments[GROUP_AT] * arguments[GROUP_AT + 1]) if name == "decode" else None


def _kinds(name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Types of what is read and written, and the bucket."""
    if name not in TUNED:
        return ()
    return arguments[0].dtype, arguments[3].dtype, arguments[BUCKET_AT[name]]


def bucket(device: torch.device, programs: int, queries: int, keys: int) -> int:
    """One number for shapes that one measurement stands for: GPU model, and sizes rounded up to powers of two.

    For the decode kernel `queries` counts the rows of its tile, heads of a group times queries: tiles are of powers of
    two, so all rows of one bucket fit into the same tile.
    """
    architecture = 0 if interpreting() else int(_properties(device)[0].removeprefix("sm_"))
    sizes = ((programs - 1).bit_length(), (queries - 1).bit_length(), (keys - 1).bit_length())
    return (architecture * 64 + sizes[0]) * 64 * 64 + sizes[1] * 64 + sizes[2]


def decode_rows(q: Tensor) -> int:
    """Most rows, heads of a group times queries, that the decode kernel takes in one tile."""
    return INTERPRETED["decode"][0] if interpreting() else max(one.block_m for one in _offered("decode", q))


def sizes(name: str, head_dim: int, block_m: int, block_n: int) -> dict[str, int]:
    """A configuration as the kernel's constants."""
    if name == "reduce":
        return {"HEAD_DIM": head_dim, "SPLITS": block_n}
    if name == "delta":
        return {"HEAD_DIM": head_dim, "BLOCK_M": block_m}
    return {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}


@cache
def _tuner(name: str) -> Any:
    """Over all that may ever be offered; `_sift` leaves what is offered for the types and GPU of a call."""
    every = dict.fromkeys(
        one for dtype in ("bf16", "fp32") for width in HEAD_DIMS for one in candidates(name, dtype, width)
    )
    configs = [
        triton.Config({"BLOCK_M": one.block_m, "BLOCK_N": one.block_n}, num_warps=one.warps, num_stages=one.stages)
        for one in every
    ]
    tune = triton.autotune(configs, key=["bucket", "HEAD_DIM"], prune_configs_by={"early_config_prune": _sift(name)})
    return tune(KERNELS[name])


def _sift(name: str) -> Callable[..., list[Any]]:
    def sift(configs: list[Any], given: dict[str, Any], **_: Any) -> list[Any]:
        rows = given["group"] * given["queries"] if name == "decode" else None
        fitting = set(_fitting(name, given["p_q"], rows))
        return [one for one in configs if _configuration(one) in fitting]

    return sift


def _fitting(name: str, q: Tensor, rows: int | None) -> tuple[Configuration, ...]:
    """What is offered for q; of the decode kernel's only those of the smallest tile that holds the rows."""
    found = _offered(name, q)
    if rows is None:
        return found
    smallest = min(one.block_m for one in found if one.block_m >= rows)
    return tuple(one for one in found if one.block_m == smallest)


def _offered(name: str, q: Tensor) -> tuple[Configuration, ...]:
    architecture, shared_bytes, gpu = _properties(q.device)
    if architecture not in SHARED_LIMITS_BYTES:
        raise AttentionNotPossible(
            f"no tile was compiled for {architecture} ({gpu}), only for {', '.join(SHARED_LIMITS_BYTES)}: use backend "
            "'auto', which takes the reference there; or name it in SHARED_LIMITS_BYTES of attention_configurations.py "
            "and run python -m replicas.kernels.compile_attention"
        )
    found = offered(name, SHORT_NAMES[q.dtype], q.shape[3], architecture, shared_bytes)
    if not found:
        raise AttentionNotPossible(
            f"no tile of the {name} kernel for {q.dtype} and head dim {q.shape[3]} fits into the "
            f"{shared_bytes} bytes of shared memory of {gpu}: use backend 'reference'"
        )
    return found


@cache
def _properties(device: torch.device) -> tuple[str, int, str]:
    """Architecture, shared memory that a block may use, name."""
    found = torch.cuda.get_device_properties(device)
    return f"sm_{found.major}{found.minor}", found.shared_memory_per_block_optin, found.name


@cache
def processors(device: torch.device) -> int:
    """How many blocks of threads run side by side at least; under the interpreter those of an A100."""
    return 108 if interpreting() else int(torch.cuda.get_device_properties(device).multi_processor_count)


def _configuration(config: Any) -> Configuration:
    return Configuration(config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], config.num_warps, config.num_stages)
