"""Causal attention in pure PyTorch: the definition that the kernels are tested against, and what runs on a CPU.

Imports no Triton. The queries are taken in blocks of rows, and a block reads only the keys that its last row sees, so
half of a square is never computed; nothing is copied of keys and values that grouped heads share.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 64  # queries of a block: small enough to skip most of what is masked, large enough for matrix products
EXACT = (torch.float32, torch.float64)  # other types are computed in float32 and rounded once, at the end


def attention_reference(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Tensor:
    """softmax(scale · q kᵀ + mask) v, with query i seeing the keys j ≤ i + (Tk − Tq).

    Args:
        q: [B, H, Tq, D] of any float type.
        k: [B, Hkv, Tk, D] of the same type; H is a multiple of Hkv, and head h of q reads head h // (H // Hkv) of k.
        v: [B, Hkv, Tk, D].
        scale: factor of the scores, usually D ** -0.5.

    Returns: [B, H, Tq, D] of the type of q; scores, softmax and sums are float32 for half types. Differentiable.

    Source: Vaswani et al., "Attention is all you need" (arXiv 1706.03762), eq. 1; grouped heads: arXiv 2305.13245.
    """
    type_given, queries, offset = q.dtype, q.shape[2], k.shape[2] - q.shape[2]
    if type_given not in EXACT:
        q, k, v = q.float(), k.float(), v.float()
    q = q * scale
    if queries <= ROWS:
        return _rows(q, k, v).to(type_given)
    parts = []
    for first in range(0, queries, ROWS):
        end = first + ROWS  # past the last in the last block, where slices end by themselves
        parts.append(_rows(q[:, :, first:end], k[:, :, : offset + end], v[:, :, : offset + end]))
    return torch.cat(parts, dim=2).to(type_given)


def _rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of queries that end at the last key. The heads of a group become rows of one matrix: their keys are the same."""
    batch, heads, queries, width = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    group = heads // kv_heads
    rows = q.reshape(batch * kv_heads, group * queries, width)  # [B·Hkv, group·Tq, D]
    columns = k.reshape(batch * kv_heads, keys, width).transpose(1, 2)  # [B·Hkv, D, Tk]
    if queries == 1:
        scores = torch.bmm(rows, columns)  # the only query sees every key
    else:
        hidden = q.new_full((queries, keys), float("-inf")).triu_(1 + keys - queries)
        scores = torch.baddbmm(hidden.repeat(group, 1), rows, columns)
    mixed = torch.bmm(torch.softmax(scores, dim=-1), v.reshape(batch * kv_heads, keys, width))
    return mixed.view(batch, heads, queries, width)
