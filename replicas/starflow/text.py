"""Prompts as the states of a T5 encoder, in a window of fixed length: what the deep block of the flow reads.

    encoder = TextEncoder("/models/flan-t5-xl", window=128)
    encoder.load("cuda")
    encoder.encode(["a cat"]).states     # [1, 128, 2048] float32, zero where the prompt has ended

Only the encoder half of a T5 is read from its files (Raffel et al. 2020, arXiv:1910.10683).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replicas.errors import EncodingFailed, ModelNotLoadable, NotLoaded
from replicas.loading import dtype_of, transformers_folder

from .parts_memory import TextFootprint

# Longer text is cut before it is tokenized, so that its price is not the caller's to choose. No piece of T5's
# vocabulary is longer than 16 characters; a run of blanks counts as one.
_CHARACTERS_A_TOKEN = 32


@dataclass(frozen=True, slots=True)
class TextStates:
    """What the flow reads of B prompts, and which of them were longer than the window."""

    states: Tensor  # [B, L, D] float32
    cut: tuple[bool, ...]  # of each prompt: only its beginning was read


class TextEncoder:
    """A T5 at `model`, a local folder or a hub id with its pinned `revision`; `window` is L, in tokens.

    The folder is what save_pretrained() of model and tokenizer wrote, with safetensors and a tokenizer.json. Prompts
    are encoded one by one: then the states of a prompt are the same bits alone and in any batch.
    """

    def __init__(self, model: str, *, window: int, revision: str | None = None, dtype: str = "float32") -> None:
        self._source = model
        self._revision = revision
        self._dtype = dtype_of(dtype)
        self._window = window
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def width(self) -> int:
        """D, the numbers a state has."""
        return int(self._loaded().config.d_model)

    @property
    def window(self) -> int:
        """L, the tokens a prompt may have, its end mark among them."""
        return self._window

    def load(self, device: str = "cpu") -> None:
        """Into memory. Raises ModelNotLoadable: no T5, pickles, weights missing, no tokenizer that can be read."""
        folder = transformers_folder(self._source, self._revision)
        _width(folder, self._source)  # refuses other families
        from transformers import AutoTokenizer, T5EncoderModel

        only_local = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **only_local)
            model, report = T5EncoderModel.from_pretrained(
                folder, dtype=self._dtype, use_safetensors=True, output_loading_info=True, **only_local
            )
        except Exception as error:
            raise ModelNotLoadable(
                f"text encoder {self._source!r} cannot be loaded: {type(error).__name__}: {error}; give the folder "
                "that save_pretrained() of a T5 and of its fast tokenizer (tokenizer.json) wrote"
            ) from error
        missing = sorted(report["missing_keys"])
        if missing:  # transformers draws these at random and goes on
            raise ModelNotLoadable(
                f"text encoder {self._source!r} lacks {len(missing)} weights, first {missing[0]!r}; get its files again"
            )
        if tokenizer.pad_token_id is None:
            raise ModelNotLoadable(f"the tokenizer of text encoder {self._source!r} has no pad token; T5's is <pad>")
        self._tokenizer, self._model = tokenizer, model.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> TextStates:
        """B prompts -> their states; any text will do, the empty one (for guidance) too.

        Raises NotLoaded, and EncodingFailed where the model gives values that are not finite.
        """
        model = self._loaded()
        if isinstance(prompts, str):
            raise TypeError("prompts is one text; give a list of texts")
        if not prompts:
            return TextStates(torch.zeros(0, self._window, self.width, device=model.device), ())
        longest = self._window * _CHARACTERS_A_TOKEN
        texts = [_readable(prompt[:longest]) for prompt in prompts]
        whole = self._tokenizer(texts, verbose=False)["input_ids"]
        cut = tuple(
            len(prompt) > longest or len(ids) > self._window for prompt, ids in zip(prompts, whole, strict=True)
        )
        states = torch.cat([self._states_of(text) for text in texts])  # [B, L, D]
        if not torch.isfinite(states).all():
            raise EncodingFailed(
                f"text encoder {self._source!r} gave values that are not finite; T5 overflows in float16: set its "
                "dtype to bfloat16 or float32"
            )
        return TextStates(states, cut)

    @property
    def held_bytes(self) -> int:
        """Of its weights."""
        return sum(weight.numel() * weight.element_size() for weight in self._loaded().parameters())

    @property
    def footprint(self) -> TextFootprint:
        """What it takes beside its weights."""
        config = self._loaded().config
        return TextFootprint(
            self._window, config.d_model, config.num_heads, config.d_kv, config.d_ff, self._dtype.itemsize
        )

    def close(self) -> None:
        """Out of memory; load() brings it back."""
        self._model = self._tokenizer = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _states_of(self, text: str) -> Tensor:
        """[1, L, D] float32. Padding is masked inside the model, and its own states are zero."""
        model = self._loaded()
        tokens = self._tokenizer(
            [text], padding="max_length", truncation=True, max_length=self._window, return_tensors="pt"
        )
        ids, mask = tokens["input_ids"].to(model.device), tokens["attention_mask"].to(model.device)
        states: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states.float() * mask[..., None]

    def _loaded(self) -> Any:
        if self._model is None:
            raise NotLoaded(f"text encoder {self._source!r} is not loaded; call load() first")
        return self._model


def width_of(model: str, revision: str | None = None) -> int:
    """D of the T5 at `model`, from its config alone: a flow cannot be built without it. Raises ModelNotLoadable."""
    return _width(transformers_folder(model, revision), model)


def weights_bytes_of(model: str, revision: str | None, dtype: str) -> int:
    """Of the T5 at `model`, from its config alone: built on the meta device. Raises ModelNotLoadable."""
    folder = transformers_folder(model, revision)
    _width(folder, model)  # refuses other families
    from transformers import T5Config, T5EncoderModel

    try:
        config = T5Config.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            count = sum(weight.numel() for weight in T5EncoderModel(config).parameters())
    except Exception as error:
        raise ModelNotLoadable(
            f"text encoder {model!r} cannot be built from its config.json: {type(error).__name__}: {error}"
        ) from error
    return count * dtype_of(dtype).itemsize


def _width(folder: Path, source: str) -> int:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        family, width = config.get("model_type"), config.get("d_model")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelNotLoadable(
            f"text encoder folder {folder} has no readable config.json ({error}); give the folder that "
            "save_pretrained() of a T5 and of its tokenizer wrote"
        ) from error
    if family != "t5" or not isinstance(width, int):
        raise ModelNotLoadable(f"text encoder {source!r} is of type {family!r}, d_model {width!r}; allowed: t5")
    return width


def _readable(text: str) -> str:
    """Without the lone surrogates that no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
