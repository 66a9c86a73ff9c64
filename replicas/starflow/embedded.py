"""The small flow of the embedded default: a STARFlow model over the embedded latents, with a word encoder of its own.

The large models read a frozen T5; this one learns its words together with the flow. Otherwise it is the same model, so
every sampler, the likelihood and the kernel are those of the large ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from replicas.autoencoder import LATENT_CHANNELS
from replicas.patches import GRID
from replicas.text import MAX_WORDS, PAD, WordEncoder, WordTokenizer

from .config import FlowConfig
from .model import Encoded, StarFlow

NOISE_STD = 0.3  # added to latents in training; the embedded decoder takes it out again
WORD_WIDTH = 128


class EmbeddedFlow(nn.Module):
    """Words and latents [B, 64, 16] (tokens of the 8 x 8 grid) instead of text states and [B, 16, 8, 8]."""

    def __init__(
        self, flow: Mapping[str, Any], vocabulary_size: int, text_layers: int = 2, text_heads: int = 2
    ) -> None:
        super().__init__()
        config = FlowConfig.from_constructor(flow)
        self.config = {
            "flow": asdict(config), "vocabulary_size": vocabulary_size,
            "text_layers": text_layers, "text_heads": text_heads,
        }  # fmt: skip
        self.words = WordEncoder(config.txt_dim, text_layers, text_heads, vocabulary_size)
        self.flow = StarFlow(config)

    def read(self, ids: Tensor) -> Tensor:
        """Word ids [B, L] -> text states [B, L, D], zero at padding as a released text encoder's are."""
        return self.words(ids) * (ids != PAD).unsqueeze(-1)

    def encode(self, latents: Tensor, ids: Tensor) -> Encoded:
        """Latents [B, 64, 16] and word ids [B, L] -> as StarFlow.forward."""
        return self.flow(to_grid(latents), self.read(ids))

    def loss(self, latents: Tensor, ids: Tensor) -> Tensor:
        """[B] nats a value, as Encoded.loss."""
        return self.encode(latents, ids).loss()


def to_grid(latents: Tensor) -> Tensor:
    """[B, 64, 16] -> [B, 16, 8, 8]."""
    return latents.transpose(1, 2).unflatten(2, (GRID, GRID))


def embedded_config() -> FlowConfig:
    """Three shallow blocks and one deep block, in the layout of the released text-to-image model."""
    return FlowConfig(
        in_channels=LATENT_CHANNELS, img_size=GRID, patch_size=1, channels=96, top_block_channels=256, num_blocks=4,
        layers_per_block=(2, 2, 2, 4), head_dim=32, rope=True, sos=True, txt_size=MAX_WORDS, txt_dim=WORD_WIDTH,
        cond_top_only=True, use_softplus=True, use_final_norm=True, norm_type="rms_norm", soft_clip=4.0,
        seq_order="L2R",
    )  # fmt: skip


def new_flow(config: FlowConfig | None = None) -> EmbeddedFlow:
    """The embedded configuration, or another one that draws these latents from these words, untrained."""
    return EmbeddedFlow(asdict(config or embedded_config()), WordTokenizer().size)
