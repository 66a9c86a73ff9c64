"""The large tier: a normalizing flow of the STARFlow kind, a released one by path or the small one of this tree.

    tier = FlowTier("/models/starflow-3b", text_encoder="/models/flan-t5-xl", autoencoder="/models/sd-vae-ft-ema",
                    dtype="bfloat16")
    tier.load("cuda")
    tier.generate([GenerationRequest("a red panda", seed=7, preset="draft", height_px=256, width_px=256)])

Only a flow can also say how likely an image is: `tier.log_likelihood(images, prompts)`.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .embedded import WEIGHTS
from .errors import ModelNotLoadable, NotLoaded
from .loading import dtype_of
from .starflow.embedded_parts import EMBEDDED_SIZE_PX, load_embedded
from .starflow.loader import Source, device_of, load_pipeline
from .starflow.presets import built_in, options_of
from .tier import GenerationRequest, Tier

if TYPE_CHECKING:
    from .starflow.likelihood import Likelihood
    from .starflow.pipeline import FlowPipeline


class FlowTier(Tier):
    """A released STARFlow or TARFlow checkpoint by `model`, or with model None the flow of this tree.

    `model` is a local folder with the released YAML configuration and the weights (.pth or .safetensors); the weights
    that Apple released are for research only, so nobody is given a path to them. Presets: `starflow/presets.py`; with
    none given, `draft`, `standard` and `exact`. A released flow draws nine aspect ratios of one area, `sizes_px`;
    `native_size_px` is the square one, known once loaded.

    The same batch gives the same bits again on one device. An image of a batch is drawn from its own seed and equals
    the same image drawn alone up to rounding in the sampler's matrix products.
    """

    family = "flow"
    embedded_folder = WEIGHTS  # of the flow of this tree; training measures what it has just written elsewhere

    def __init__(
        self,
        model: str | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        text_encoder: str | None = None,
        text_encoder_revision: str | None = None,
        text_encoder_dtype: str = "float32",
        autoencoder: str | None = None,
        autoencoder_revision: str | None = None,
        dtype: str = "float32",
        memory_gib: float | None = None,
    ) -> None:
        """`text_encoder` and `autoencoder` are local folders, or hub ids with the commit that the revision pins.

        `memory_gib` is what weights and a batch may take; None: what the device has free. A batch that is predicted
        not to fit is refused with BatchTooLarge.
        """
        self._pipeline: FlowPipeline | None = None
        self._notices: tuple[str | None, ...] = ()
        given = (text_encoder, text_encoder_revision, autoencoder, autoencoder_revision, memory_gib)
        if model is None and (any(one is not None for one in given) or {dtype, text_encoder_dtype} != {"float32"}):
            raise ModelNotLoadable(
                "text_encoder, autoencoder, their revisions, dtypes and memory_gib are for a given model; the flow of "
                "this tree has its own"
            )
        if memory_gib is not None and not _is_amount(memory_gib):
            raise ModelNotLoadable(f"memory_gib is {memory_gib!r}; allowed: None or a number above 0")
        for name in (dtype, text_encoder_dtype):
            dtype_of(name)
        super().__init__(model, presets or built_in())
        self._source: Source | None = None
        if model is None:
            self.native_size_px = EMBEDDED_SIZE_PX
            return
        self._source = Source(
            model, text_encoder, text_encoder_revision, text_encoder_dtype, autoencoder, autoencoder_revision, dtype,
            memory_gib,
        )  # fmt: skip

    @property
    def sizes_px(self) -> Mapping[str, tuple[int, int]]:
        """Aspect (width:height) -> (height, width) of what a loaded tier draws."""
        if self.model is None:
            return {"1:1": EMBEDDED_SIZE_PX}
        return self._loaded().sizes_px

    def check_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        for name, options in presets.items():
            options_of(name, options)

    def load(self, device: str) -> None:
        device_of(device)
        folder = self.embedded_folder
        self._pipeline = load_embedded(device, folder) if self._source is None else load_pipeline(self._source, device)
        self.native_size_px = next(iter(self._pipeline.sizes_px.values()))

    def warm_up(self) -> None:
        # With the cheapest sampler: the exact one takes as many steps as a picture has tokens.
        self._loaded().draw(["warm up"], [0], self.native_size_px, options_of("draft", {}))

    def generate(self, requests: Sequence[GenerationRequest]) -> np.ndarray:
        """As Tier.generate; raises also SizeNotPossible, BatchTooLarge, and DrawingFailed or EncodingFailed where the
        model gives values that are not finite."""
        self._notices = ()
        pipeline, first = self._loaded(), requests[0] if requests else None
        options = self.options_of(requests)
        assert first is not None, "options_of refuses an empty batch"
        drawn = pipeline.draw(
            [request.prompt for request in requests],
            [request.seed for request in requests],
            (first.height_px, first.width_px),
            options_of(first.preset, options),
        )
        self._notices = drawn.notices
        return drawn.images

    def notices(self) -> Sequence[str | None]:
        return self._notices

    def size_for(self, height_px: int, width_px: int) -> tuple[int, int]:
        def difference(size_px: tuple[int, int]) -> float:
            return abs(math.log(size_px[0] * width_px / (size_px[1] * height_px)))

        return min(self.sizes_px.values(), key=difference)

    def log_likelihood(
        self, images: np.ndarray, prompts: Sequence[str], seeds: Sequence[int] | None = None
    ) -> Likelihood:
        """How likely images [B, H, W, 3] uint8 are, given their prompts, in nats and bits a dimension.

        Exact for each image's mean latents with the noise of training added, drawn from its seed (None: 0 for all);
        `starflow/likelihood.py` says what that means. Raises NotLoaded, SizeNotPossible, EncodingFailed.
        """
        seeds = [0] * len(images) if seeds is None else seeds
        return self._loaded().log_likelihood(images, prompts, seeds)

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _loaded(self) -> FlowPipeline:
        if self._pipeline is None:
            raise NotLoaded(f"flow {self.model or 'of this tree'!r} is not loaded; call load() first")
        return self._pipeline


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
