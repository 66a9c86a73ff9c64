"""One autoregressive flow block: z_t = (x_t − μ_t) / σ_t, where a causal transformer gives μ_t and σ_t from x_{<t}.

Zhai et al. 2024 (arXiv 2412.06329), equations 4 to 6; text and the start token as in Gu et al. 2025
(arXiv 2506.06276), section 3. Going from noise to data is the samplers' business (`sampling/`); they use
`enter`, `read_text`, `run` and `affine`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .cache import KeyValueCache
from .config import FlowConfig
from .layers import Layer, RMSNorm
from .positions import Rotation

_SOFTPLUS_OF_ONE = 0.541324854612918  # softplus of this is 1: an untrained block is the identity


class FlowBlock(nn.Module):
    """Block `index` of a flow; 0 stands next to the data, the last one (the deep block) next to the noise.

    All sequences here are in the block's own reading order: `turn` brings tokens of the picture into it and back.
    With a start token, input i (the token before i) predicts token i; without one, input i is token i and predicts
    token i + 1, and token 0 passes unchanged. `shift` is that difference, 0 or 1.
    """

    def __init__(self, config: FlowConfig, index: int) -> None:
        super().__init__()
        deep = index == config.num_blocks - 1
        self.width = config.deep_channels if deep else config.channels
        self.backwards = config.reads_backwards(index)
        self.conditioned = config.reads_text(index)
        self.clip, self.softplus = float(config.soft_clip), config.use_softplus
        self.shift = 0 if config.sos else 1
        self.heads, self.kv_heads = config.heads_of(self.width)
        self.head_dim, self.halves = config.head_dim, config.hf_style_rope
        self.proj_in = nn.Linear(config.token_channels, self.width)
        self.proj_out = nn.Linear(self.width, 2 * config.token_channels)
        nn.init.zeros_(self.proj_out.weight)
        if config.sos:
            self.sos_embed = nn.Parameter(torch.randn(1, 1, config.token_channels))
        if self.conditioned:
            self.proj_txt = nn.Linear(config.txt_dim, self.width)
        self.pos_embed = None if config.rope else nn.Parameter(0.01 * torch.randn(config.grid_side**2, self.width))
        self.attn_blocks = nn.ModuleList(Layer(config, self.width) for _ in range(config.layers_per_block[index]))
        self.final_norm = RMSNorm(self.width) if config.use_final_norm else None

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, in which the transformer computes; means and scales are at least float32."""
        return self.proj_in.weight.dtype

    def turn(self, x: Tensor) -> Tensor:
        """[B, T, C] from the picture's order to the block's, or back."""
        return x.flip(1) if self.backwards else x

    def inputs(self, x: Tensor) -> Tensor:
        """The inputs [B, T − shift, C] that predict the tokens x [B, T, C]."""
        if self.shift:
            return x[:, :-1]
        return torch.cat([self.sos_embed.to(x.dtype).expand(len(x), -1, -1), x[:, :-1]], 1)

    def enter(self, tokens: Tensor, begin: int, step: int = 1) -> Tensor:
        """Inputs [B, t, C] number `begin` and every `step`-th from there -> [B, t, width] in the weights' dtype."""
        hidden = self.proj_in(tokens.to(self.dtype))
        if self.pos_embed is None:
            return hidden
        position = self.turn(self.pos_embed[None])[0]
        return hidden + position[begin : begin + step * tokens.shape[1] : step]

    def read_text(self, text: Tensor) -> Tensor:
        """Text states [B, L, D] -> [B, L, width], what goes before the tokens."""
        return self.proj_txt(text.to(self.dtype))

    def run(
        self, hidden: Tensor, by: Rotation | None, cache: KeyValueCache | None = None, temperature: float = 1.0
    ) -> Tensor:
        """The layers: hidden [B, t, width], standing behind what `cache` holds, with the rotations of its t tokens."""
        for index, layer in enumerate(self.attn_blocks):
            hidden = layer(hidden, by, cache, index, temperature)
        return hidden

    def affine(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the layers gave [B, t, width] -> mean and scale [B, t, C], at least float32; the scale is positive."""
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        out = self.proj_out(hidden)
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        if self.clip:
            out = self.clip * torch.tanh(out / self.clip)
        raw, mean = out.chunk(2, -1)
        scale = functional.softplus(raw + _SOFTPLUS_OF_ONE) if self.softplus else raw.exp()
        return mean, scale

    def predict(self, x: Tensor, text: Tensor | None, by: Rotation | None) -> tuple[Tensor, Tensor]:
        """Mean and scale [B, T, C] of all tokens x [B, T, C] at once, each from those before it (and the text)."""
        if x.shape[1] == self.shift:  # a single token without a start token passes unchanged
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            return torch.zeros_like(wide), torch.ones_like(wide)
        hidden = self.enter(self.inputs(x), 0)
        length = hidden.shape[1]
        if self.conditioned:
            assert text is not None, "the model has checked this"
            hidden = torch.cat([self.read_text(text), hidden], 1)
        by = None if by is None else by.part(0, hidden.shape[1])
        mean, scale = self.affine(self.run(hidden, by)[:, hidden.shape[1] - length :])
        if self.shift:
            mean = torch.cat([torch.zeros_like(x[:, :1], dtype=mean.dtype), mean], 1)
            scale = torch.cat([torch.ones_like(x[:, :1], dtype=mean.dtype), scale], 1)
        return mean, scale

    def forward(self, x: Tensor, text: Tensor | None, by: Rotation | None) -> tuple[Tensor, Tensor]:
        """x [B, T, C] in the picture's order -> z likewise, and log|dz/dx| [B, T, C] in the block's order, in nats."""
        x = self.turn(x)
        mean, scale = self.predict(x, text, by)
        return self.turn((x - mean) / scale), -scale.log()


class IdentityBlock(nn.Module):
    """A block of 0 layers: data and noise are the same."""

    conditioned = False

    def forward(self, x: Tensor, text: Tensor | None, by: Rotation | None) -> tuple[Tensor, Tensor]:
        """As FlowBlock.forward."""
        return x, torch.zeros_like(x)
