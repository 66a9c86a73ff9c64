"""Sentence vectors of a table's prompts, from a cache on disk or from any encoder that is passed in.

A cache is an .npz with `prompt_id` [N] and `vector` [N, D] float32, and `prompt_sha256` [N] where it was written here;
or an .npy of [N, D] in the order of the table's prompts. No encoder lives here: this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bandit.errors import BadTable

from .table import Table

Vectors: TypeAlias = NDArray[np.float32]
Encoder: TypeAlias = Callable[[Sequence[str]], Vectors]


def encode(table: Table, encoder: Encoder) -> Vectors:
    """[N, D] float32 by any callable that takes texts and gives one row for each. Raises BadTable."""
    return _checked(np.asarray(encoder(table.prompts), dtype=np.float32), table, "the encoder's answer")


def write_vectors(path: Path, table: Table, vectors: Vectors) -> None:
    """A cache that `read_vectors` takes for this table, or another one with the same prompts."""
    hashes = np.array([_hash(prompt) for prompt in table.prompts])
    np.savez(path, prompt_id=np.array(table.prompt_ids), prompt_sha256=hashes, vector=vectors)


def read_vectors(path: Path, table: Table) -> Vectors:
    """[N, D] float32 in the table's order: matched by the prompt's hash, else by its id. Raises BadTable."""
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return _checked(stored.astype(np.float32), table, str(path))
        with stored:
            parts = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadTable(f"{path} cannot be read as .npz or .npy: {error}") from error
    if "vector" not in parts or not parts.keys() & {"prompt_id", "prompt_sha256"}:
        raise BadTable(f"{path} holds {', '.join(parts)}; needed: vector, and prompt_id or prompt_sha256")
    keys: Sequence[str] = table.prompt_ids
    names = parts.get("prompt_id")
    if "prompt_sha256" in parts:
        keys, names = [_hash(prompt) for prompt in table.prompts], parts["prompt_sha256"]
    assert names is not None
    place = {str(name): row for row, name in enumerate(names)}
    missing = [key for key in keys if key not in place]
    if missing:
        raise BadTable(f"{path} has no vector for {len(missing)} of {len(keys)} prompts, {missing[0]!r} the first; "
                       "encode this table's prompts anew")  # fmt: skip
    return _checked(parts["vector"][[place[key] for key in keys]].astype(np.float32), table, str(path))


def _checked(vectors: Vectors, table: Table, source: str) -> Vectors:
    if vectors.ndim != 2 or len(vectors) != len(table.prompts) or not np.isfinite(vectors).all():
        raise BadTable(f"{source} has shape {vectors.shape}; needed: finite, {len(table.prompts)} rows, one per prompt")
    return vectors


def _hash(prompt: str) -> str:
    return sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
