"""Triton kernels of the backward pass: each row's delta, the gradients of keys and values, the gradient of queries.

Probabilities are made again from the scores and the log-sum-exp that the forward pass kept. One program owns a block of
keys and goes over the queries (of every head of the group) that see it, another owns a block of queries and goes over
its keys: nothing is added atomically, so the same input gives the same bits. Every block is masked: a comparison is
cheap beside four products, and a second loop for the blocks that need none cost so many registers that tiles spilled.
Source: Dao, "FlashAttention-2" (arXiv 2307.08691), algorithm 2. House prefixes as in `attention_forward.py`.
"""
# A kernel's arguments have the types that Triton finds out by itself.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from .attention_forward import LENGTHS, LOG2E, PRECISION, WIDEST, product_by_slices


@triton.jit(do_not_specialize=["heads", "queries"])
def delta_kernel(
    p_out, p_grad, p_delta, s_ob, s_oh, s_ot, s_gb, s_gh, s_gt, heads, queries,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """delta [B, H, Tq] = sum over D of out · grad, which is each row's sum of probability times its gradient."""
    tiles = tl.cdiv(queries, BLOCK_M)
    i_bh = tl.program_id(0) // tiles
    i_m = tl.program_id(0) % tiles * BLOCK_M
    i_b = (i_bh // heads).to(tl.int64)
    i_h = (i_bh % heads).to(tl.int64)
    o_m = tl.arange(0, BLOCK_M)
    o_d = tl.arange(0, HEAD_DIM)
    m_m = i_m + o_m < queries
    p_out += i_b * s_ob + i_h * s_oh + i_m.to(tl.int64) * s_ot
    p_grad += i_b * s_gb + i_h * s_gh + i_m.to(tl.int64) * s_gt
    b_out = tl.load(p_out + o_m[:, None] * s_ot + o_d[None, :], mask=m_m[:, None], other=0.0).to(tl.float32)
    b_grad = tl.load(p_grad + o_m[:, None] * s_gt + o_d[None, :], mask=m_m[:, None], other=0.0).to(tl.float32)
    tl.store(p_delta + i_bh.to(tl.int64) * queries + i_m + o_m, tl.sum(b_out * b_grad, 1), mask=m_m)


@triton.jit(do_not_specialize=LENGTHS)
def keys_kernel(
    p_q, p_k, p_v, p_grad, p_dk, p_dv, p_lse, p_delta, scale,
    s_qb, s_qh, s_qt, s_kb, s_kh, s_kt, s_vb, s_vh, s_vt, s_gb, s_gh, s_gt,
    s_dkb, s_dkh, s_dkt, s_dvb, s_dvh, s_dvt,
    heads, group, queries, keys, bucket,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of keys and values; a head's first block, which the most queries see, comes first.

    Where the head dim is sliced, a program owns half of the block's columns: both halves' sums fill all registers.
    """
    SLICED: tl.constexpr = HEAD_DIM > WIDEST and p_q.dtype.element_ty == tl.float32
    PARTS: tl.constexpr = 2 if SLICED else 1
    PART: tl.constexpr = HEAD_DIM // PARTS
    tiles = tl.cdiv(keys, BLOCK_N) * PARTS
    kv_heads = heads // group
    i_bh = tl.program_id(0) // tiles
    i_n = tl.program_id(0) % tiles // PARTS * BLOCK_N
    i_b = (i_bh // kv_heads).to(tl.int64)
    i_h = (i_bh % kv_heads).to(tl.int64)
    o_m = tl.arange(0, BLOCK_M)
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.program_id(0) % PARTS * PART + tl.arange(0, PART)
    m_n = i_n + o_n < keys
    p_k += i_b * s_kb + i_h * s_kh + i_n.to(tl.int64) * s_kt
    p_v += i_b * s_vb + i_h * s_vh + i_n.to(tl.int64) * s_vt
    b_k = tl.load(p_k + o_n[:, None] * s_kt + o_d[None, :], mask=m_n[:, None], other=0.0)
    b_v = tl.load(p_v + o_n[:, None] * s_vt + o_d[None, :], mask=m_n[:, None], other=0.0)
    b_dk = tl.zeros([BLOCK_N, PART], tl.float32)
    b_dv = tl.zeros([BLOCK_N, PART], tl.float32)
    o_first = i_n + o_n - (keys - queries)  # first query that sees key n
    start = tl.maximum(0, i_n - (keys - queries)) // BLOCK_M * BLOCK_M
    for i_g in range(group):
        i_q = i_h * group + i_g
        p_rows = p_q + i_b * s_qb + i_q * s_qh + tl.cast(start, tl.int64) * s_qt
        p_grads = p_grad + i_b * s_gb + i_q * s_gh + tl.cast(start, tl.int64) * s_gt
        o_row = (i_b * heads + i_q) * queries
        for i_m in range(start, queries, BLOCK_M):
            m_m = i_m + o_m < queries
            b_q = tl.load(p_rows + o_m[None, :] * s_qt + o_d[:, None], mask=m_m[None, :], other=0.0)  # [D, M]
            b_grad = tl.load(p_grads + o_m[:, None] * s_gt + o_d[None, :], mask=m_m[:, None], other=0.0)  # [M, D]
            if SLICED:
                p_columns, p_grad_columns = p_rows + o_m * s_qt, p_grads + o_m * s_gt
                b_s = product_by_slices(p_k + o_n * s_kt, m_n, p_columns, m_m, BLOCK_N, BLOCK_M, HEAD_DIM)
                b_dp = product_by_slices(p_v + o_n * s_vt, m_n, p_grad_columns, m_m, BLOCK_N, BLOCK_M, HEAD_DIM)
            else:
                b_s = tl.dot(b_k, b_q, input_precision=PRECISION)  # [N, M]
                b_dp = tl.dot(b_v, tl.trans(b_grad), input_precision=PRECISION)
            b_lse = tl.load(p_lse + o_row + i_m + o_m, mask=m_m, other=float("inf"))  # inf: no probability
            b_p = tl.exp2(b_s * (scale * LOG2E) - b_lse[None, :] * LOG2E)
            b_p = tl.where((i_m + o_m)[None, :] >= o_first[:, None], b_p, 0.0)
            b_dv = tl.dot(b_p.to(b_grad.dtype), b_grad, b_dv, input_precision=PRECISION)
            b_delta = tl.load(p_delta + o_row + i_m + o_m, mask=m_m, other=0.0)
            b_ds = b_p * (b_dp - b_delta[None, :])
            b_dk = tl.dot(b_ds.to(b_q.dtype), tl.trans(b_q), b_dk, input_precision=PRECISION)
            p_rows += BLOCK_M * s_qt
            p_grads += BLOCK_M * s_gt
    p_dk += i_b * s_dkb + i_h * s_dkh + i_n.to(tl.int64) * s_dkt
    p_dv += i_b * s_dvb + i_h * s_dvh + i_n.to(tl.int64) * s_dvt
    m_n = m_n[:, None]
    tl.store(p_dk + o_n[:, None] * s_dkt + o_d[None, :], (b_dk * scale).to(p_dk.dtype.element_ty), mask=m_n)
    tl.store(p_dv + o_n[:, None] * s_dvt + o_d[None, :], b_dv.to(p_dv.dtype.element_ty), mask=m_n)


@triton.jit(do_not_specialize=LENGTHS)
def queries_kernel(
    p_q, p_k, p_v, p_grad, p_dq, p_lse, p_delta, scale,
    s_qb, s_qh, s_qt, s_kb, s_kh, s_kt, s_vb, s_vh, s_vt, s_gb, s_gh, s_gt, s_dqb, s_dqh, s_dqt,
    heads, group, queries, keys, bucket,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradient of one tile of BLOCK_M queries of one head, in the order of the forward pass."""
    tiles = tl.cdiv(queries, BLOCK_M)
    i_bh = tl.program_id(0) // tiles
    i_m = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_M
    i_b = (i_bh // heads).to(tl.int64)
    i_h = (i_bh % heads).to(tl.int64)
    SLICED: tl.constexpr = HEAD_DIM > WIDEST and p_q.dtype.element_ty == tl.float32
    o_m = tl.arange(0, BLOCK_M)
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.arange(0, HEAD_DIM)
    m_m = i_m + o_m < queries
    p_q += i_b * s_qb + i_h * s_qh + i_m.to(tl.int64) * s_qt
    p_grad += i_b * s_gb + i_h * s_gh + i_m.to(tl.int64) * s_gt
    p_k += i_b * s_kb + i_h // group * s_kh
    p_v += i_b * s_vb + i_h // group * s_vh
    o_row = i_bh.to(tl.int64) * queries + i_m
    b_q = tl.load(p_q + o_m[:, None] * s_qt + o_d[None, :], mask=m_m[:, None], other=0.0)
    b_grad = tl.load(p_grad + o_m[:, None] * s_gt + o_d[None, :], mask=m_m[:, None], other=0.0)
    b_lse = tl.load(p_lse + o_row + o_m, mask=m_m, other=float("inf")) * LOG2E
    b_delta = tl.load(p_delta + o_row + o_m, mask=m_m, other=0.0)
    b_dq = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    seen = i_m + keys - queries  # last key of the tile's first row
    for i_n in range(0, tl.minimum(keys, seen + BLOCK_M), BLOCK_N):
        m_n = i_n + o_n < keys
        b_k = tl.load(p_k + o_n[None, :] * s_kt + o_d[:, None], mask=m_n[None, :], other=0.0)  # [D, N]
        if SLICED:
            b_s = product_by_slices(p_q + o_m * s_qt, m_m, p_k + o_n * s_kt, m_n, BLOCK_M, BLOCK_N, HEAD_DIM)
            b_dp = product_by_slices(p_grad + o_m * s_gt, m_m, p_v + o_n * s_vt, m_n, BLOCK_M, BLOCK_N, HEAD_DIM)
        else:
            b_s = tl.dot(b_q, b_k, input_precision=PRECISION)  # [M, N]
            b_v = tl.load(p_v + o_n[None, :] * s_vt + o_d[:, None], mask=m_n[None, :], other=0.0)
            b_dp = tl.dot(b_grad, b_v, input_precision=PRECISION)
        b_p = tl.exp2(b_s * (scale * LOG2E) - b_lse[:, None])
        b_p = tl.where((i_n + o_n)[None, :] <= seen + o_m[:, None], b_p, 0.0)
        b_ds = b_p * (b_dp - b_delta[:, None])
        b_dq = tl.dot(b_ds.to(b_k.dtype), tl.trans(b_k), b_dq, input_precision=PRECISION)
        p_k += BLOCK_N * s_kt
        p_v += BLOCK_N * s_vt
    p_dq += i_b * s_dqb + i_h * s_dqh + i_m.to(tl.int64) * s_dqt
    tl.store(p_dq + o_m[:, None] * s_dqt + o_d[None, :], (b_dq * scale).to(p_dq.dtype.element_ty), mask=m_m[:, None])
