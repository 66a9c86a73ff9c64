"""A scorer from any CLIP or SigLIP model of transformers: how near are picture and prompt in its joint space?

CLIP's score is CLIPScore (Hessel et al. 2021, arXiv:2104.08718, eq. 1): w · max(cos(prompt, image), 0) with w = 2.5,
cut at 1. SigLIP's is the probability that it was trained to give (Zhai et al. 2023, arXiv:2303.15343, section 3.2):
sigmoid(scale · cos + bias). The two are not comparable with each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .errors import ModelNotLoadable, NotLoaded, ScoringFailed
from .loading import dtype_of, transformers_folder
from .scorer import Scorer

CLIPSCORE_WEIGHT = 2.5

_FAMILIES = ("clip", "siglip")  # most SigLIP 2 checkpoints call themselves siglip; those for any aspect ratio do not


class ClipScorer(Scorer):
    """Scores with the CLIP or SigLIP model at `model`, a local folder or a hub id with its pinned `revision`."""

    def __init__(self, model: str, *, revision: str | None = None, dtype: str = "float32") -> None:
        self._source = model
        self._revision = revision
        self._dtype = dtype_of(dtype)
        self._model: Any = None
        self._tokenizer: Any = None
        self._image_processor: Any = None

    def load(self, device: str) -> None:
        folder = transformers_folder(self._source, self._revision)
        try:
            family = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
        except (OSError, ValueError) as error:
            raise ModelNotLoadable(
                f"model folder {folder} has no readable config.json ({error}); "
                "give the folder that save_pretrained() of model, tokenizer and image processor wrote"
            ) from error
        if family not in _FAMILIES:
            raise ModelNotLoadable(f"model {self._source!r} is of type {family!r}; allowed: {', '.join(_FAMILIES)}")
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        only_local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **only_local)
            self._image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **only_local)
            model = AutoModel.from_pretrained(folder, dtype=self._dtype, use_safetensors=True, **only_local)
        except Exception as error:
            raise ModelNotLoadable(
                f"model {self._source!r} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        self._model = model.to(device).eval()

    @torch.inference_mode()
    def score(self, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        if self._model is None:
            raise NotLoaded(f"scorer model {self._source!r} is not loaded; call load() first")
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts; each image needs its prompt")
        device = self._model.device
        pixels = self._image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        config = self._model.config
        sigmoid = config.model_type == "siglip"
        tokens = self._tokenizer(
            list(prompts),
            padding="max_length" if sigmoid else True,  # SigLIP was trained without a mask, on full length only
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        text = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask") if name in tokens}
        if sigmoid:
            text.pop("attention_mask", None)
        of_image = self._model.get_image_features(pixels["pixel_values"].to(device, self._dtype)).pooler_output
        of_text = self._model.get_text_features(**text).pooler_output
        cosine = torch.cosine_similarity(of_image.float(), of_text.float(), dim=-1)  # [B] in [-1, 1]
        if sigmoid:
            scores = torch.sigmoid(self._model.logit_scale.float().exp() * cosine + self._model.logit_bias.float())
        else:
            scores = (CLIPSCORE_WEIGHT * cosine).clamp(0, 1)
        if not torch.isfinite(scores).all():
            raise ScoringFailed(f"scorer model {self._source!r} gave values that are not finite; try dtype float32")
        return scores.cpu().numpy()

    def close(self) -> None:
        self._model = self._tokenizer = self._image_processor = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
