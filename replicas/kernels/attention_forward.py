"""Triton kernels of the forward pass: whole tiles of queries, few queries on a long prefix, and the sum of its parts.

Each keeps a running maximum and sum per row (online softmax), so no score ever leaves the chip. Keys that every row of
a tile sees are taken without a mask, the rest with one. The scores' exponentials are to base 2; `p_lse` is natural.
Source: Dao, "FlashAttention-2" (arXiv 2307.08691), algorithm 1; the split prefix: Flash-Decoding (Dao et al., 2023).

House prefixes: p_ pointer, s_ stride, i_ index, o_ offset, m_ mask, b_ loaded block. Lengths are not specialised on,
so what was compiled ahead of time is what runs. Head by head offsets are 64 bits wide, those inside a tile 32.
"""
# A kernel's arguments have the types that Triton finds out by itself.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)  # below every score, and finite: a row that has seen nothing yet must not give inf - inf
# Three products of TF32 pieces instead of one: float32 on matrix instructions with an error near float32's own. Plain
# TF32 would round to 11 bits; "ieee" does without matrix instructions. Types of 16 bits are not touched by it.
PRECISION = tl.constexpr("tf32x3")
WIDEST = tl.constexpr(128)  # float32 head dim whose rows stay in registers whole
SLICE = tl.constexpr(64)  # of a wider one
LENGTHS = ["heads", "group", "queries", "keys", "bucket"]
DECODE_LENGTHS = [*LENGTHS, "span"]


@triton.jit
def product_by_slices(
    p_rows, m_rows, p_columns, m_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HEAD_DIM: tl.constexpr
):
    """[ROWS, D] × [D, COLUMNS] from pointers to their starts, a slice of D at a time, each read anew.

    For rows too wide to stay in registers: the TF32 pieces of 16 rows of 256 float32 fill all that a warp has.
    """
    o_d = tl.arange(0, SLICE)
    b_product = tl.zeros([ROWS, COLUMNS], tl.float32)
    for i_d in range(0, HEAD_DIM, SLICE):  # not unrolled: unrolled, the slices' loads fill the registers again
        b_rows = tl.load(p_rows[:, None] + (i_d + o_d)[None, :], mask=m_rows[:, None], other=0.0)
        b_columns = tl.load(p_columns[None, :] + (i_d + o_d)[:, None], mask=m_columns[None, :], other=0.0)
        b_product = tl.dot(b_rows, b_columns, b_product, input_precision=PRECISION)
    return b_product


@triton.jit
def attend(
    b_acc, b_sum, b_peak, b_q, p_rows, m_rows, p_k, p_v, s_kt, s_vt, o_seen, start, end, keys, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SLICED: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Adds keys [start, end) to the rows' running softmax; row r sees keys j <= o_seen[r]. b_q or p_rows is read."""
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.arange(0, HEAD_DIM)
    p_k += tl.cast(start, tl.int64) * s_kt
    p_v += tl.cast(start, tl.int64) * s_vt
    for i_n in range(start, end, BLOCK_N):
        if MASKED:
            m_n = i_n + o_n < keys
            b_k = tl.load(p_k + o_n[None, :] * s_kt + o_d[:, None], mask=m_n[None, :], other=0.0)
            b_v = tl.load(p_v + o_n[:, None] * s_vt + o_d[None, :], mask=m_n[:, None], other=0.0)
        else:
            b_k = tl.load(p_k + o_n[None, :] * s_kt + o_d[:, None])
            b_v = tl.load(p_v + o_n[:, None] * s_vt + o_d[None, :])
        if SLICED:
            b_s = product_by_slices(
                p_rows, m_rows, p_k + o_n * s_kt, i_n + o_n < keys, BLOCK_M, BLOCK_N, HEAD_DIM
            )  # fmt: skip
        else:
            b_s = tl.dot(b_q, b_k, input_precision=PRECISION)  # [M, N]
        if MASKED:
            b_s = tl.where((i_n + o_n)[None, :] <= o_seen[:, None], b_s, float("-inf"))
        b_peak_new = tl.maximum(b_peak, tl.max(b_s, 1) * scale)
        b_p = tl.exp2(b_s * scale - b_peak_new[:, None])
        b_rescale = tl.exp2(b_peak - b_peak_new)
        b_sum = b_sum * b_rescale + tl.sum(b_p, 1)
        b_acc = tl.dot(b_p.to(b_v.dtype), b_v, b_acc * b_rescale[:, None], input_precision=PRECISION)
        b_peak = b_peak_new
        p_k += BLOCK_N * s_kt
        p_v += BLOCK_N * s_vt
    return b_acc, b_sum, b_peak


@triton.jit(do_not_specialize=LENGTHS)
def forward_kernel(
    p_q, p_k, p_v, p_out, p_lse, scale,
    s_qb, s_qh, s_qt, s_kb, s_kh, s_kt, s_vb, s_vh, s_vt, s_ob, s_oh, s_ot,
    heads, group, queries, keys, bucket,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One tile of BLOCK_M queries of one head; a head's last tile, which has the most keys, comes first."""
    tiles = tl.cdiv(queries, BLOCK_M)
    i_bh = tl.program_id(0) // tiles
    i_m = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_M
    i_b = (i_bh // heads).to(tl.int64)
    i_h = (i_bh % heads).to(tl.int64)
    SLICED: tl.constexpr = HEAD_DIM > WIDEST and p_q.dtype.element_ty == tl.float32
    o_m = tl.arange(0, BLOCK_M)
    o_d = tl.arange(0, HEAD_DIM)
    m_m = i_m + o_m < queries
    p_q += i_b * s_qb + i_h * s_qh + i_m.to(tl.int64) * s_qt
    p_k += i_b * s_kb + i_h // group * s_kh
    p_v += i_b * s_vb + i_h // group * s_vh
    p_out += i_b * s_ob + i_h * s_oh + i_m.to(tl.int64) * s_ot
    p_lse += i_bh.to(tl.int64) * queries + i_m
    p_rows = p_q + o_m * s_qt
    b_q = tl.load(p_rows[:, None] + o_d[None, :], mask=m_m[:, None], other=0.0)
    b_acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    b_sum = tl.zeros([BLOCK_M], tl.float32)
    b_peak = tl.full([BLOCK_M], LOWEST, tl.float32)
    seen = i_m + keys - queries  # last key of the tile's first row
    o_seen = seen + o_m
    whole = (seen + 1) // BLOCK_N * BLOCK_N  # every row sees all keys before it
    end = tl.minimum(keys, seen + BLOCK_M)
    scale *= LOG2E
    b_acc, b_sum, b_peak = attend(
        b_acc, b_sum, b_peak, b_q, p_rows, m_m, p_k, p_v, s_kt, s_vt, o_seen, 0, whole, keys, scale,
        HEAD_DIM, BLOCK_M, BLOCK_N, SLICED, False,
    )  # fmt: skip
    b_acc, b_sum, b_peak = attend(
        b_acc, b_sum, b_peak, b_q, p_rows, m_m, p_k, p_v, s_kt, s_vt, o_seen, whole, end, keys, scale,
        HEAD_DIM, BLOCK_M, BLOCK_N, SLICED, True,
    )  # fmt: skip
    b_out = (b_acc / b_sum[:, None]).to(p_out.dtype.element_ty)
    tl.store(p_out + o_m[:, None] * s_ot + o_d[None, :], b_out, mask=m_m[:, None])
    tl.store(p_lse + o_m, (b_peak + tl.log2(b_sum)) / LOG2E, mask=m_m)


@triton.jit(do_not_specialize=DECODE_LENGTHS)
def decode_kernel(
    p_q, p_k, p_v, p_out, p_lse, scale,
    s_qb, s_qh, s_qt, s_kb, s_kh, s_kt, s_vb, s_vh, s_vt, s_os, s_ob, s_oh, s_ot,
    heads, group, queries, keys, bucket, span,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """All queries of one group of heads, packed as the rows of one tile, on the keys of one split of `span`.

    Writes the split's own softmax and log-sum-exp: the result itself where there is one split, parts for
    `reduce_kernel` where there are more. A row that sees no key of the split gives 0 and −inf.
    """
    kv_heads = heads // group
    i_s = tl.program_id(0) % tl.cdiv(keys, span)
    i_bh = tl.program_id(0) // tl.cdiv(keys, span)
    i_b = (i_bh // kv_heads).to(tl.int64)
    i_h = (i_bh % kv_heads).to(tl.int64)
    SLICED: tl.constexpr = HEAD_DIM > WIDEST and p_q.dtype.element_ty == tl.float32
    o_m = tl.arange(0, BLOCK_M)
    o_d = tl.arange(0, HEAD_DIM)
    o_head = i_h * group + o_m // queries  # [M] int64
    o_query = o_m % queries
    m_m = o_m < group * queries
    p_rows = p_q + i_b * s_qb + o_head * s_qh + o_query * s_qt
    b_q = tl.load(p_rows[:, None] + o_d[None, :], mask=m_m[:, None], other=0.0)
    p_k += i_b * s_kb + i_h * s_kh
    p_v += i_b * s_vb + i_h * s_vh
    b_acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    b_sum = tl.zeros([BLOCK_M], tl.float32)
    b_peak = tl.full([BLOCK_M], LOWEST, tl.float32)
    o_seen = keys - queries + o_query
    start = i_s * span
    end = tl.minimum(keys, start + span)
    whole = tl.maximum(start, tl.minimum(end, keys - queries + 1) // BLOCK_N * BLOCK_N)
    scale *= LOG2E
    b_acc, b_sum, b_peak = attend(
        b_acc, b_sum, b_peak, b_q, p_rows, m_m, p_k, p_v, s_kt, s_vt, o_seen, start, whole, keys, scale,
        HEAD_DIM, BLOCK_M, BLOCK_N, SLICED, False,
    )  # fmt: skip
    b_acc, b_sum, b_peak = attend(
        b_acc, b_sum, b_peak, b_q, p_rows, m_m, p_k, p_v, s_kt, s_vt, o_seen, whole, end, keys, scale,
        HEAD_DIM, BLOCK_M, BLOCK_N, SLICED, True,
    )  # fmt: skip
    b_total = tl.where(b_sum > 0, b_sum, 1.0)
    b_out = b_acc / b_total[:, None]
    p_out += i_s.to(tl.int64) * s_os + i_b * s_ob
    tl.store(
        p_out + (o_head * s_oh + o_query * s_ot)[:, None] + o_d[None, :],
        b_out.to(p_out.dtype.element_ty),
        mask=m_m[:, None],
    )
    batch = tl.num_programs(0) // tl.cdiv(keys, span) // kv_heads
    p_lse += ((i_s * batch + i_b) * heads + o_head) * queries + o_query
    b_lse = tl.where(b_sum > 0, (b_peak + tl.log2(b_total)) / LOG2E, float("-inf"))
    tl.store(p_lse, b_lse, mask=m_m)


@triton.jit(do_not_specialize=["heads", "queries", "splits"])
def reduce_kernel(
    p_parts, p_part_lse, p_out, p_lse, s_ob, s_oh, s_ot, heads, queries, splits,
    HEAD_DIM: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One query of one head: the splits' results [S, B, H, Tq, D], weighed by the exponential of their log-sum-exp."""
    i_row = tl.program_id(0).to(tl.int64)  # of B·H·Tq
    rows = tl.num_programs(0).to(tl.int64)
    o_s = tl.arange(0, SPLITS)
    o_d = tl.arange(0, HEAD_DIM)
    m_s = o_s < splits
    b_lse = tl.load(p_part_lse + o_s * rows + i_row, mask=m_s, other=float("-inf"))
    b_peak = tl.max(b_lse, 0)  # finite: key 0, which every query sees, is in the first split
    b_weight = tl.exp2((b_lse - b_peak) * LOG2E)
    total = tl.sum(b_weight, 0)
    p_parts += (o_s * rows + i_row)[:, None] * HEAD_DIM + o_d[None, :]
    b_parts = tl.load(p_parts, mask=m_s[:, None], other=0.0)
    b_out = tl.sum(b_parts * b_weight[:, None], 0) / total
    i_bh = i_row // queries
    p_out += i_bh // heads * s_ob + i_bh % heads * s_oh + i_row % queries * s_ot
    tl.store(p_out + o_d, b_out.to(p_out.dtype.element_ty))
    tl.store(p_lse + i_row, b_peak + tl.log2(total) / LOG2E)
