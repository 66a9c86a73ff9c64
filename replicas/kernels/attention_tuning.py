"""Launches an attention kernel with the configuration that was fastest when such a shape first came.

`triton.autotune` measures what `attention_configurations.py` offers for the GPU at hand, once per head dim, types and
bucket of lengths, and keeps the best in memory. Under Triton's interpreter there is nothing to measure.
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
from .attention_configurations import HEAD_DIMS, Configuration, candidates, offered
from .attention_forward import decode_kernel, forward_kernel, reduce_kernel

KERNELS = {
    "forward": forward_kernel, "decode": decode_kernel, "reduce": reduce_kernel,
    "keys": keys_kernel, "queries": queries_kernel, "delta": delta_kernel,
}  # fmt: skip
TUNED = ("forward", "decode", "keys", "queries")
SHORT_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
INTERPRETED = (32, 16)  # queries and keys of a tile under the interpreter, where decode takes as many as it needs


def interpreting() -> bool:
    """Whether the kernels run on the CPU: TRITON_INTERPRET=1 was set before Triton was imported."""
    return not isinstance(forward_kernel, triton.runtime.JITFunction)


def launch(name: str, blocks: Callable[[int, int], int], head_dim: int, *arguments: Any) -> None:
    """Runs the kernel on `blocks(block_m, block_n)` programs."""
    kernel = KERNELS[name]
    device = arguments[0].device
    if interpreting():
        block_m, block_n = _interpreted(name, arguments)
        kernel[(blocks(block_m, block_n),)](*arguments, **sizes(name, head_dim, block_m, block_n))
        return
    if name in TUNED:
        with torch.cuda.device(device):
            _tuner(name)[lambda given: (blocks(given["BLOCK_M"], given["BLOCK_N"]),)](
                *arguments, HEAD_DIM=head_dim, enable_fp_fusion=True
            )
        return
    (only,) = candidates(name, "fp32", head_dim)
    with torch.cuda.device(device):
        kernel[(blocks(only.block_m, only.block_n),)](
            *arguments, **sizes(name, head_dim, only.block_m, only.block_n),
            num_warps=only.warps, num_stages=only.stages, enable_fp_fusion=True,
        )  # fmt: skip


def bucket(device: torch.device, programs: int, queries: int, keys: int) -> int:
    """One number for shapes that one measurement stands for: GPU model, and sizes rounded to powers of two."""
    major, minor = (0, 0) if interpreting() else torch.cuda.get_device_capability(device)
    sizes = (programs.bit_length(), queries.bit_length(), keys.bit_length())
    return ((major * 10 + minor) * 64 + sizes[0]) * 64 * 64 + sizes[1] * 64 + sizes[2]


def decode_rows(q: Tensor) -> int:
    """Most rows, heads of a group times queries, that the decode kernel takes in one tile."""
    return INTERPRETED[0] if interpreting() else max(one.block_m for one in _offered("decode", q))


def sizes(name: str, head_dim: int, block_m: int, block_n: int) -> dict[str, int]:
    """A configuration as the kernel's constants."""
    if name == "reduce":
        return {"HEAD_DIM": head_dim, "SPLITS": block_n}
    if name == "delta":
        return {"HEAD_DIM": head_dim, "BLOCK_M": block_m}
    return {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}


def _interpreted(name: str, arguments: tuple[Any, ...]) -> tuple[int, int]:
    if name == "reduce":
        return 1, candidates(name, "fp32", HEAD_DIMS[0])[0].block_n
    return INTERPRETED


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
    properties = torch.cuda.get_device_properties(q.device)
    architecture = "sm_90" if (properties.major, properties.minor) == (9, 0) else "sm_80"
    found = offered(name, SHORT_NAMES[q.dtype], q.shape[3], architecture, properties.shared_memory_per_block_optin)
    if not found:
        raise AttentionNotPossible(
            f"no tile of the {name} kernel for {q.dtype} and head dim {q.shape[3]} fits into the "
            f"{properties.shared_memory_per_block_optin} bytes of shared memory of {properties.name}: "
            "use backend 'reference'"
        )
    return found


def _configuration(config: Any) -> Configuration:
    return Configuration(config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], config.num_warps, config.num_stages)
