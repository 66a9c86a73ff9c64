"""One transformer layer of a flow block: causal attention and a feed-forward part, with every option of the releases.

Parameter names are those of released checkpoints, so that these load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from replicas.kernels.attention import attention

from .cache import KeyValueCache
from .config import FlowConfig
from .linear import Linear
from .positions import Rotation, rotate


class RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019), in at least float32; the stored weight is gain − 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:  # [..., width]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return (normed * (1 + self.weight.to(wide.dtype))).to(x.dtype)


def _norm(config: FlowConfig, width: int) -> nn.Module:
    kinds = {"layer_norm": nn.LayerNorm, "rms_norm": RMSNorm, "none": nn.Identity}
    return kinds[config.norm_type](width)


class Attention(nn.Module):
    """Causal self-attention with rotary positions; grouped heads where num_kv_heads is less than num_heads."""

    def __init__(self, config: FlowConfig, width: int) -> None:
        super().__init__()
        self.head_dim, self.halves = config.head_dim, config.hf_style_rope
        self.heads, self.kv_heads = config.heads_of(width)
        inner, kv_inner = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.sizes = [inner, kv_inner, kv_inner]
        self.norm = _norm(config, width)
        self.qkv = Linear(width, inner + 2 * kv_inner, bias=config.use_bias)
        self.proj = Linear(inner, width, bias=config.use_bias)
        self.query_norm = RMSNorm(self.head_dim) if config.use_qk_norm else None
        self.key_norm = RMSNorm(self.head_dim) if config.use_qk_norm else None
        self.post_norm = RMSNorm(width) if config.use_post_norm else None

    def forward(
        self, x: Tensor, by: Rotation | None, cache: KeyValueCache | None, layer: int, temperature: float
    ) -> Tensor:
        """x [B, T, width], new tokens that stand behind what `cache` holds -> [B, T, width]."""
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, heads, T, D]
            for part in self.qkv(self.norm(x)).split(self.sizes, -1)
        )
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if by is not None:
            q, k = rotate(q, by, self.halves), rotate(k, by, self.halves)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        mixed = attention(q, k, v, scale=self.head_dim**-0.5 / temperature)
        out = self.proj(mixed.transpose(1, 2).flatten(2))
        return out if self.post_norm is None else self.post_norm(out)


class MLP(nn.Module):
    """Four times as wide inside: GELU, or a GELU gate ("SwiGLU" in released options; Shazeer 2020 calls it GEGLU)."""

    def __init__(self, config: FlowConfig, width: int) -> None:
        super().__init__()
        inner, bias = 4 * width, config.use_bias
        self.norm = _norm(config, width)
        self.post_norm = RMSNorm(width) if config.use_post_norm else None
        self.gated = config.use_swiglu
        if self.gated:
            self.gate_proj = Linear(width, inner, bias=bias)
            self.up_proj = Linear(width, inner, bias=bias)
            self.down_proj = Linear(inner, width, bias=bias)
        else:
            self.main = nn.Sequential(Linear(width, inner, bias=bias), nn.GELU(), Linear(inner, width, bias=bias))

    def forward(self, x: Tensor) -> Tensor:  # [B, T, width]
        x = self.norm(x)
        if self.gated:
            x = self.down_proj(functional.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        else:
            x = self.main(x)
        return x if self.post_norm is None else self.post_norm(x)


class Layer(nn.Module):
    """Attention, then feed-forward, each added to what came in."""

    def __init__(self, config: FlowConfig, width: int) -> None:
        super().__init__()
        self.attention = Attention(config, width)
        self.mlp = MLP(config, width)

    def forward(
        self,
        x: Tensor,
        by: Rotation | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        temperature: float = 1.0,
    ) -> Tensor:
        """x [B, T, width] -> [B, T, width]; see Attention.forward."""
        x = x + self.attention(x, by, cache, layer, temperature)
        return x + self.mlp(x)
