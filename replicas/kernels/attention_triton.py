"""Causal attention by the Triton kernels: buffers, which kernel for which shape, and the gradient.

The kernels lie in `attention_forward.py` and `attention_backward.py`. Triton is imported there, and by what tunes and
compiles them: `attention_tuning.py`, `compile_attention.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from replicas.errors import AttentionNotPossible

from .attention_configurations import MOST_SPLITS
from .attention_tuning import bucket, decode_rows, interpreting, launch, processors

SPAN = 128  # a split holds a multiple of so many keys, which every block of keys divides
MULTIPLE = 16  # numbers; every stride is such a multiple, which Triton compiles for, and so was what is offered
KEYS_WHOLE = 128  # widest float32 head dim of which one program of the keys' kernel makes all columns


def attention_triton(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Tensor:
    """softmax(scale · q kᵀ + mask) v, with query i seeing the keys j ≤ i + (Tk − Tq).

    Args:
        q: [B, H, Tq, D] float16, bfloat16 or float32 with D of 32, 64, 128 or 256. Any strides; what is not
            contiguous in D is copied first.
        k: [B, Hkv, Tk, D] of the same type, H a multiple of Hkv.
        v: [B, Hkv, Tk, D].
        scale: factor of the scores, above 0.

    Returns: [B, H, Tq, D] of the type of q, whose memory lies as [B, Tq, H, D], so that joining the heads copies
    nothing. Differentiable once.

    Raises: AttentionNotPossible on a device that the kernels do not run on.
    """
    if not q.is_cuda and not interpreting():
        raise AttentionNotPossible(
            f"the kernels run on CUDA devices, not on {q.device}: use backend 'auto', or set TRITON_INTERPRET=1 before "
            "Python starts, which interprets them on the CPU, slowly"
        )
    out: Tensor = _Attention.apply(q, k, v, scale)
    return out


class _Attention(torch.autograd.Function):
    """Keeps the result and its log-sum-exp, from which the backward pass makes the probabilities again."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q, k, v = _dense(q), _dense(k), _dense(v)
        out, lse = attend(q, k, v, scale)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.scale = scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        wants_q, wants_k, wants_v, _ = ctx.needs_input_grad
        q, k, v, out, lse = ctx.saved_tensors
        dq, dk, dv = gradients(q, k, v, out, lse, _dense(grad), ctx.scale, wants_q, wants_k or wants_v)
        return dq, dk if wants_k else None, dv if wants_v else None, None


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The result [B, H, Tq, D] and each row's natural log-sum-exp of its scores [B, H, Tq] in float32."""
    batch, heads, queries, width = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    group = heads // kv_heads
    out = _as_tokens(q)
    lse = empty((batch, heads, queries), torch.float32, q.device)
    inputs = (*_three(q), *_three(k), *_three(v))
    if group * queries > decode_rows(q):
        shape = bucket(q.device, batch * heads, queries, keys)
        launch("forward", lambda m, _: batch * heads * -(-queries // m), width,
               q, k, v, out, lse, scale, *inputs, *_three(out), heads, group, queries, keys, shape)  # fmt: skip
        return out, lse
    splits, span = prefix_splits(batch * kv_heads, keys, processors(q.device))
    shape = bucket(q.device, batch * kv_heads, group * queries, keys)
    if splits == 1:
        parts, part_lse, strides = out, lse, (0, *_three(out))
    else:
        parts = empty((splits, batch, heads, queries, width), torch.float32, q.device)
        part_lse = empty((splits, batch, heads, queries), torch.float32, q.device)
        strides = parts.stride()[:4]
    launch("decode", lambda m, n: batch * kv_heads * splits, width,
           q, k, v, parts, part_lse, scale, *inputs, *strides, heads, group, queries, keys, shape, span)  # fmt: skip
    if splits > 1:
        launch("reduce", lambda m, n: batch * heads * queries, width,
               parts, part_lse, out, lse, *_three(out), heads, queries, splits)  # fmt: skip
    return out, lse


def gradients(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, grad: Tensor, scale: float, of_q: bool, of_kv: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of q, k and v, given the gradient of the result; None for what is not asked for."""
    batch, heads, queries, width = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    delta = empty((batch, heads, queries), torch.float32, q.device)
    launch("delta", lambda m, _: batch * heads * -(-queries // m), width,
           out, grad, delta, *_three(out), *_three(grad), heads, queries)  # fmt: skip
    strides = (*_three(q), *_three(k), *_three(v), *_three(grad))
    lengths = (heads, heads // kv_heads, queries, keys, bucket(q.device, batch * kv_heads, queries, keys))
    dq = dk = dv = None
    if of_kv:
        dk, dv = _as_tokens(k), _as_tokens(v)
        halves = 2 if q.dtype == torch.float32 and width > KEYS_WHOLE else 1
        launch("keys", lambda _, n: batch * kv_heads * -(-keys // n) * halves, width,
               q, k, v, grad, dk, dv, lse, delta, scale, *strides, *_three(dk), *_three(dv), *lengths)  # fmt: skip
    if of_q:
        dq = _as_tokens(q)
        launch("queries", lambda m, _: batch * heads * -(-queries // m), width,
               q, k, v, grad, dq, lse, delta, scale, *strides, *_three(dq), *lengths)  # fmt: skip
    return dq, dk, dv


def prefix_splits(programs: int, keys: int, processors: int) -> tuple[int, int]:
    """Into how many splits of how many keys: enough that two programs come to a processor, none shorter than SPAN."""
    wanted = min(MOST_SPLITS, -(-2 * processors // programs), -(-keys // SPAN))
    span = -(-keys // (wanted * SPAN)) * SPAN
    return -(-keys // span), span


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Every buffer that a kernel fills."""
    return torch.empty(shape, dtype=dtype, device=device)


def _as_tokens(like: Tensor) -> Tensor:
    """[B, H, T, D] whose memory lies as [B, T, H, D]."""
    batch, heads, tokens, width = like.shape
    return empty((batch, tokens, heads, width), like.dtype, like.device).transpose(1, 2)


def _dense(x: Tensor) -> Tensor:
    """x itself, or a copy where the kernels were not compiled for how it lies: they load 16 bytes at a time."""
    if x.stride(3) == 1 and x.data_ptr() % 16 == 0 and not any(stride % MULTIPLE for stride in _three(x)):
        return x
    return empty(tuple(x.shape), x.dtype, x.device).copy_(x)  # contiguous() would give an unaligned x itself


def _three(x: Tensor) -> tuple[int, int, int]:
    """Numbers from one item, head and token to the next; 0 where there is one, whose stride may be anything."""
    sizes, strides = x.shape, x.stride()
    return (
        strides[0] if sizes[0] > 1 else 0,
        strides[1] if sizes[1] > 1 else 0,
        strides[2] if sizes[2] > 1 else 0,
    )
