"""Triton kernels of the backward pass: each row's delta, the gradients of keys and values, the gradient of queries.

Probabilities are made again from the scores and the log-sum-exp that the forward pass kept. One program owns a block of
keys and goes over the queries (of every head of the group) that see it, another owns a block of queries and goes over
its keys: nothing is added atomically, so the same input gives the same bits.
Source: Dao, "FlashAttention-2" (arXiv 2307.08691), algorithm 2. House prefixes as in `attention_forward.py`.
"""
# mypy: disable-error-code="no-untyped-def"  # a kernel's arguments have Triton's types, which it finds out by itself

from __future__ import annotations

import triton
import triton.language as tl

from .attention_forward import LENGTHS, LOG2E, PRECISION


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


@triton.jit
def gather_queries(
    b_dk, b_dv, b_k, b_v, p_q, p_grad, p_lse, p_delta, s_qt, s_gt, o_first, start, end, queries, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Adds what queries [start, end) of one head give to a block of keys; key n is seen by queries >= o_first[n]."""
    o_m = tl.arange(0, BLOCK_M)
    o_d = tl.arange(0, HEAD_DIM)
    p_q += start.to(tl.int64) * s_qt
    p_grad += start.to(tl.int64) * s_gt
    for i_m in range(start, end, BLOCK_M):
        m_m = i_m + o_m < queries
        b_q = tl.load(p_q + o_m[None, :] * s_qt + o_d[:, None], mask=m_m[None, :], other=0.0)  # [D, M]
        b_lse = tl.load(p_lse + i_m + o_m, mask=m_m, other=float("inf")) * LOG2E  # inf: no probability past the last
        b_p = tl.exp2(tl.dot(b_k, b_q, input_precision=PRECISION) * scale - b_lse[None, :])  # [N, M]
        if MASKED:
            b_p = tl.where((i_m + o_m)[None, :] >= o_first[:, None], b_p, 0.0)
        b_grad = tl.load(p_grad + o_m[:, None] * s_gt + o_d[None, :], mask=m_m[:, None], other=0.0)  # [M, D]
        b_dv = tl.dot(b_p.to(b_grad.dtype), b_grad, b_dv, input_precision=PRECISION)
        b_delta = tl.load(p_delta + i_m + o_m, mask=m_m, other=0.0)
        b_ds = b_p * (tl.dot(b_v, tl.trans(b_grad), input_precision=PRECISION) - b_delta[None, :])
        b_dk = tl.dot(b_ds.to(b_q.dtype), tl.trans(b_q), b_dk, input_precision=PRECISION)
        p_q += BLOCK_M * s_qt
        p_grad += BLOCK_M * s_gt
    return b_dk, b_dv


@triton.jit(do_not_specialize=LENGTHS)
def keys_kernel(
    p_q, p_k, p_v, p_grad, p_dk, p_dv, p_lse, p_delta, scale,
    s_qb, s_qh, s_qt, s_kb, s_kh, s_kt, s_vb, s_vh, s_vt, s_gb, s_gh, s_gt,
    s_dkb, s_dkh, s_dkt, s_dvb, s_dvh, s_dvt,
    heads, group, queries, keys, bucket,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of keys and values; a head's first block, which the most queries see, comes first."""
    tiles = tl.cdiv(keys, BLOCK_N)
    kv_heads = heads // group
    i_bh = tl.program_id(0) // tiles
    i_n = tl.program_id(0) % tiles * BLOCK_N
    i_b = (i_bh // kv_heads).to(tl.int64)
    i_h = (i_bh % kv_heads).to(tl.int64)
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.arange(0, HEAD_DIM)
    m_n = i_n + o_n < keys
    p_k += i_b * s_kb + i_h * s_kh + i_n.to(tl.int64) * s_kt
    p_v += i_b * s_vb + i_h * s_vh + i_n.to(tl.int64) * s_vt
    b_k = tl.load(p_k + o_n[:, None] * s_kt + o_d[None, :], mask=m_n[:, None], other=0.0)
    b_v = tl.load(p_v + o_n[:, None] * s_vt + o_d[None, :], mask=m_n[:, None], other=0.0)
    b_dk = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    b_dv = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    o_first = i_n + o_n - (keys - queries)  # first query that sees key n
    start = tl.maximum(0, i_n - (keys - queries)) // BLOCK_M * BLOCK_M
    whole = tl.cdiv(tl.maximum(0, i_n + BLOCK_N - 1 - (keys - queries)), BLOCK_M) * BLOCK_M  # from here all see all
    for i_g in range(group):
        i_q = i_h * group + i_g
        p_qh = p_q + i_b * s_qb + i_q * s_qh
        p_gh = p_grad + i_b * s_gb + i_q * s_gh
        o_row = (i_b * heads + i_q) * queries
        b_dk, b_dv = gather_queries(
            b_dk, b_dv, b_k, b_v, p_qh, p_gh, p_lse + o_row, p_delta + o_row, s_qt, s_gt, o_first,
            start, tl.minimum(whole, queries), queries, scale * LOG2E, HEAD_DIM, BLOCK_M, True,
        )  # fmt: skip
        b_dk, b_dv = gather_queries(
            b_dk, b_dv, b_k, b_v, p_qh, p_gh, p_lse + o_row, p_delta + o_row, s_qt, s_gt, o_first,
            whole, queries, queries, scale * LOG2E, HEAD_DIM, BLOCK_M, False,
        )  # fmt: skip
    p_dk += i_b * s_dkb + i_h * s_dkh + i_n.to(tl.int64) * s_dkt
    p_dv += i_b * s_dvb + i_h * s_dvh + i_n.to(tl.int64) * s_dvt
    m_n = m_n[:, None]
    tl.store(p_dk + o_n[:, None] * s_dkt + o_d[None, :], (b_dk * scale).to(p_dk.dtype.element_ty), mask=m_n)
    tl.store(p_dv + o_n[:, None] * s_dvt + o_d[None, :], b_dv.to(p_dv.dtype.element_ty), mask=m_n)


@triton.jit
def gather_keys(
    b_dq, b_q, b_grad, b_lse, b_delta, p_k, p_v, s_kt, s_vt, o_seen, start, end, keys, scale,
    HEAD_DIM: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Adds what keys [start, end) give to a tile of queries; row r sees the keys j <= o_seen[r]."""
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.arange(0, HEAD_DIM)
    p_k += start.to(tl.int64) * s_kt
    p_v += start.to(tl.int64) * s_vt
    for i_n in range(start, end, BLOCK_N):
        if MASKED:
            m_n = i_n + o_n < keys
            b_k = tl.load(p_k + o_n[None, :] * s_kt + o_d[:, None], mask=m_n[None, :], other=0.0)  # [D, N]
            b_v = tl.load(p_v + o_n[None, :] * s_vt + o_d[:, None], mask=m_n[None, :], other=0.0)
        else:
            b_k = tl.load(p_k + o_n[None, :] * s_kt + o_d[:, None])
            b_v = tl.load(p_v + o_n[None, :] * s_vt + o_d[:, None])
        b_p = tl.exp2(tl.dot(b_q, b_k, input_precision=PRECISION) * scale - b_lse[:, None])  # [M, N]
        if MASKED:
            b_p = tl.where((i_n + o_n)[None, :] <= o_seen[:, None], b_p, 0.0)
        b_ds = b_p * (tl.dot(b_grad, b_v, input_precision=PRECISION) - b_delta[:, None])
        b_dq = tl.dot(b_ds.to(b_k.dtype), tl.trans(b_k), b_dq, input_precision=PRECISION)
        p_k += BLOCK_N * s_kt
        p_v += BLOCK_N * s_vt
    return b_dq


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
    o_m = tl.arange(0, BLOCK_M)
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
    seen = i_m + keys - queries
    whole = (seen + 1) // BLOCK_N * BLOCK_N
    end = tl.minimum(keys, seen + BLOCK_M)
    b_dq = gather_keys(
        b_dq, b_q, b_grad, b_lse, b_delta, p_k, p_v, s_kt, s_vt, seen + o_m,
        whole * 0, whole, keys, scale * LOG2E, HEAD_DIM, BLOCK_N, False,
    )  # fmt: skip
    b_dq = gather_keys(
        b_dq, b_q, b_grad, b_lse, b_delta, p_k, p_v, s_kt, s_vt, seen + o_m,
        whole, end, keys, scale * LOG2E, HEAD_DIM, BLOCK_N, True,
    )  # fmt: skip
    p_dq += i_b * s_dqb + i_h * s_dqh + i_m.to(tl.int64) * s_dqt
    tl.store(p_dq + o_m[:, None] * s_dqt + o_d[None, :], (b_dq * scale).to(p_dq.dtype.element_ty), mask=m_m[:, None])
