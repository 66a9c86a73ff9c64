"""What a flow is built from: the options of the released constructor, checked, frozen, under their released names.

Released YAML files are read in `release.py`, which knows what else stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from replicas.errors import ModelNotLoadable

# Options that the released constructor takes and that change nothing in what is computed.
_WITHOUT_EFFECT = frozenset({"use_checkpoint", "use_checkpoint_mlp", "use_mm_attn"})
# Options of the video models and of pretrained language models as deep block: only "off" can be loaded here.
_UNSUPPORTED = frozenset(
    {
        "use_pretrained_lm", "learnable_self_denoiser", "conditional_denoiser", "noise_embed_denoiser",
        "temporal_causal", "shallow_block_local", "denoiser_window", "local_attn_window",
    }
)  # fmt: skip
_COUNTS = ("in_channels", "img_size", "patch_size", "channels", "num_blocks", "head_dim")
_FLAGS = (
    "rope", "sos", "cond_top_only", "use_softplus", "use_swiglu", "use_bias", "use_qk_norm", "use_post_norm",
    "use_final_norm", "hf_style_rope",
)  # fmt: skip
TEXT_ROTARY = 8  # frequencies of the text axis, out of head_dim / 2, in a flow that reads text


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """A STARFlow or TARFlow model. Raises ModelNotLoadable where the options do not fit together.

    Lengths are in latent pixels: `img_size` is the side of the square grid that the model was trained on, before
    patches. `layers_per_block` runs from the block next to the data to the deep block next to the noise; 0 layers make
    a block that changes nothing.
    """

    in_channels: int
    img_size: int
    patch_size: int
    channels: int
    num_blocks: int
    layers_per_block: tuple[int, ...]
    head_dim: int = 64
    num_heads: int | None = None  # None: channels / head_dim
    num_kv_heads: int | None = None  # None: as many as num_heads
    rope: bool = False  # False: learned positions, and no grid but the trained one
    pt_seq_len: int | None = None  # side of the grid, in patches, to which positions are normalised; None: img_size's
    sos: bool = False  # a learned token comes first; without, the first token passes unchanged
    txt_size: int = 0  # text tokens
    txt_dim: int = 0  # width of the text encoder's states
    cond_top_only: bool = False  # only the deep block reads the text
    use_softplus: bool = False  # scale = softplus instead of exp
    use_swiglu: bool = False
    use_bias: bool = True
    use_qk_norm: bool = False
    use_post_norm: bool = False
    use_final_norm: bool = False
    hf_style_rope: bool = False  # rotary pairs (i, i + D/2) instead of (2i, 2i + 1)
    norm_type: Literal["layer_norm", "rms_norm", "none"] = "layer_norm"
    soft_clip: float = 0.0  # bound on |mean| and |log scale|; 0: none
    seq_order: Literal["R2L", "L2R"] = "R2L"  # L2R: the deep block of an even number of blocks reads forwards
    top_block_channels: int | None = None  # width of the deep block; None: channels

    @classmethod
    def from_constructor(cls, options: Mapping[str, Any]) -> Self:
        """From the keyword arguments of the released constructor (as JSON holds them)."""
        known = {field.name for field in fields(cls)}
        unsupported = sorted(name for name in _UNSUPPORTED & set(options) if options[name])
        if unsupported:
            raise ModelNotLoadable(
                f"flow configuration asks for {', '.join(unsupported)}, which belong to video models or to pretrained "
                "language models; image flows with every other option are loaded"
            )
        unknown = sorted(set(options) - known - _WITHOUT_EFFECT - _UNSUPPORTED)
        if unknown:
            raise ModelNotLoadable(
                f"flow configuration has unknown options: {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            )
        given = {name: options[name] for name in known & set(options)}
        for name in _FLAGS:  # released YAML writes 0 and 1
            if name in given and given[name] in (0, 1):
                given[name] = bool(given[name])
        layers = given.get("layers_per_block")
        if isinstance(layers, int) and not isinstance(layers, bool):
            layers = [layers]
        if isinstance(layers, list | tuple):
            count = given.get("num_blocks")
            repeated = list(layers) * count if len(layers) == 1 and isinstance(count, int) else layers
            given["layers_per_block"] = tuple(repeated)
        try:
            return cls(**given)
        except TypeError as error:
            raise ModelNotLoadable(f"flow configuration lacks options: {error}") from error

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _check(_is_count(getattr(self, name), 1), name, getattr(self, name), "a whole number of at least 1")
        for name in ("txt_size", "txt_dim"):
            _check(_is_count(getattr(self, name), 0), name, getattr(self, name), "a whole number of at least 0")
        for name in ("num_heads", "num_kv_heads", "pt_seq_len", "top_block_channels"):
            value = getattr(self, name)
            _check(value is None or _is_count(value, 1), name, value, "absent or a whole number of at least 1")
        for name in _FLAGS:
            _check(isinstance(getattr(self, name), bool), name, getattr(self, name), "true or false")
        layers: Any = self.layers_per_block
        _check(
            isinstance(layers, tuple) and len(layers) == self.num_blocks and all(_is_count(n, 0) for n in layers),
            "layers_per_block", layers, f"one whole number, or num_blocks = {self.num_blocks} of them",
        )  # fmt: skip
        _check(layers[-1] > 0, "layers_per_block", layers, "at least one layer in the deep block, which is the last")
        patch = self.patch_size
        _check(self.img_size % patch == 0, "img_size", self.img_size, f"a multiple of patch_size, {patch}")
        norms = ("layer_norm", "rms_norm", "none")
        _check(self.norm_type in norms, "norm_type", self.norm_type, ", ".join(norms))
        _check(self.seq_order in ("R2L", "L2R"), "seq_order", self.seq_order, "R2L, L2R")
        clip: Any = self.soft_clip
        _check(isinstance(clip, int | float) and 0 <= clip < float("inf"), "soft_clip", clip, "a number of at least 0")
        _check(self.head_dim % 4 == 0, "head_dim", self.head_dim, "a multiple of 4: rotary pairs on two axes")
        for name, width in (("channels", self.channels), ("top_block_channels", self.deep_channels)):
            heads = self.num_heads or width // self.head_dim
            _check(heads > 0, name, width, f"at least head_dim, {self.head_dim}, or num_heads given")
            groups = self.num_kv_heads or heads
            _check(heads % groups == 0, "num_kv_heads", groups, f"a divisor of {heads} heads")
        _check(not self.cond_top_only or self.txt_size > 0, "cond_top_only", True, "false where txt_size is 0")
        _check(
            (self.txt_dim > 0) <= (self.txt_size > 0), "txt_dim", self.txt_dim, "0 where txt_size is 0",
        )  # fmt: skip
        _check(
            not (self.rope and self.txt_size) or self.head_dim // 2 > TEXT_ROTARY,
            "head_dim", self.head_dim, f"more than {2 * TEXT_ROTARY}: text takes {TEXT_ROTARY} rotary frequencies",
        )  # fmt: skip

    @property
    def deep_channels(self) -> int:
        """Width of the deep block."""
        return self.top_block_channels or self.channels

    @property
    def grid_side(self) -> int:
        """Patches a side of the grid that the model was trained on."""
        return self.img_size // self.patch_size

    @property
    def position_side(self) -> int:
        """Patches a side to which positions are normalised."""
        return self.pt_seq_len or self.grid_side

    @property
    def token_channels(self) -> int:
        """Values of one token: channels × patch²."""
        return self.in_channels * self.patch_size**2

    def heads_of(self, width: int) -> tuple[int, int]:
        """Query heads and key/value heads of a block of this width."""
        heads = self.num_heads or width // self.head_dim
        return heads, self.num_kv_heads or heads

    def reads_backwards(self, block: int) -> bool:
        """Whether block i (0 stands next to the data) reads its tokens from last to first."""
        return block % 2 == (1 if self.seq_order == "R2L" else 0)

    def reads_text(self, block: int) -> bool:
        """Whether block i is conditioned on text."""
        return self.txt_dim > 0 and (block == self.num_blocks - 1 or not self.cond_top_only)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(fine: bool, name: str, given: Any, allowed: str) -> None:
    if not fine:
        raise ModelNotLoadable(f"flow configuration: {name} is {given!r}; allowed: {allowed}")
