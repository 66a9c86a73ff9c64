"""Causal attention over a cached prefix: the one public function; it checks its input and chooses who computes.

The definition is `attention_reference.py`, which a CPU runs; `attention_triton.py` holds the kernels for NVIDIA GPUs.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from replicas.errors import AttentionNotPossible

from .attention_configurations import SHARED_LIMITS_BYTES
from .attention_reference import attention_reference

Backend = Literal["auto", "reference", "triton"]
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
KERNEL_HEAD_DIMS = (32, 64, 128, 256)
KERNEL_ARCHITECTURES = tuple(SHARED_LIMITS_BYTES)  # what the kernels' tiles were compiled for


def attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | Tensor, backend: Backend = "auto") -> Tensor:
    """softmax(scale · q kᵀ + mask) v, with query i seeing the keys j ≤ i + (Tk − Tq), so new tokens need no mask.

    Args:
        q: [B, H, Tq, D] float16, bfloat16, float32 or float64, with any strides.
        k: [B, Hkv, Tk, D] of the same type and device, Tk ≥ Tq; H is a multiple of Hkv, and head h of q reads head
            h // (H // Hkv) of k. A slice of a cache, `cache[:, :, :n]`, is read where it lies.
        v: [B, Hkv, Tk, D].
        scale: factor of the scores, finite and above 0; usually D ** -0.5.
        backend: "auto" takes the kernels where they can run (CUDA of compute capability 8.0, 8.6, 8.9 or 9.0, Triton
            installed, D of 32, 64, 128 or 256, not float64) and else the reference; the others insist.

    Returns: [B, H, Tq, D] of the type of q; sums and softmax in float32 for half types. Differentiable once. The
    kernels take the tiles that were fastest when such lengths first came, and other tiles round otherwise: for the
    same last bits in every process set `torch.use_deterministic_algorithms(True)`, which takes tiles unmeasured.

    Raises: AttentionNotPossible, saying what was given, what is allowed and what to do.
    """
    scale = float(scale)  # a tensor of one number too
    _check(q, k, v, scale)
    if backend == "reference" or (backend == "auto" and not _kernels_fit(q)):
        return attention_reference(q, k, v, scale=scale)
    if backend not in ("auto", "triton"):
        raise AttentionNotPossible(f"backend {backend!r} is unknown: give 'auto', 'reference' or 'triton'")
    if not _triton_is_installed():
        raise AttentionNotPossible("backend 'triton' needs the package triton, which is not installed: use 'auto'")
    from .attention_triton import attention_triton  # only here: an installation for CPUs has no Triton

    if q.dtype not in KERNEL_DTYPES or q.shape[-1] not in KERNEL_HEAD_DIMS:
        raise AttentionNotPossible(
            f"the kernels know float16, bfloat16 and float32 with head dims {KERNEL_HEAD_DIMS}, not {q.dtype} with "
            f"{q.shape[-1]}: use backend 'auto', which takes the reference for others"
        )
    return attention_triton(q, k, v, scale=scale)


def _kernels_fit(q: Tensor) -> bool:
    return (
        q.is_cuda
        and q.dtype in KERNEL_DTYPES
        and q.shape[-1] in KERNEL_HEAD_DIMS
        and torch.version.hip is None
        and _architecture(q.device) in KERNEL_ARCHITECTURES
        and _triton_is_installed()
    )


@cache
def _architecture(device: torch.device) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


@cache
def _triton_is_installed() -> bool:
    return find_spec("triton") is not None


def _check(q: Tensor, k: Tensor, v: Tensor, scale: float) -> None:
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise AttentionNotPossible(
            f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}: they must be [B, H, Tq, D], [B, Hkv, Tk, D] and "
            "[B, Hkv, Tk, D] with the same B and D; transpose or reshape first"
        )
    if 0 in q.shape or 0 in k.shape:
        raise AttentionNotPossible(f"q {list(q.shape)}, k {list(k.shape)}: no size may be 0; skip the call instead")
    if q.shape[1] % k.shape[1]:
        raise AttentionNotPossible(
            f"{q.shape[1]} query heads on {k.shape[1]} key heads: the first must be a multiple of the second"
        )
    if k.shape[2] < q.shape[2]:
        raise AttentionNotPossible(
            f"{q.shape[2]} queries and {k.shape[2]} keys: the queries are the last of the keys, so there must be at "
            "least as many keys; append the new keys to the cached ones before the call"
        )
    if not q.dtype == k.dtype == v.dtype or q.dtype not in DTYPES:
        raise AttentionNotPossible(
            f"q {q.dtype}, k {k.dtype}, v {v.dtype}: all three must be of one type, float16, bfloat16, float32 or "
            "float64; convert with .to()"
        )
    if not q.device == k.device == v.device:
        raise AttentionNotPossible(f"q on {q.device}, k on {k.device}, v on {v.device}: move them to one device")
    if not (math.isfinite(scale) and scale > 0):
        raise AttentionNotPossible(f"scale {scale}: it must be finite and above 0; usual is D ** -0.5")
