from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bandit.errors import BadTable
from bandit.replay.vectors import Vectors, encode, read_vectors, write_vectors
from tests.bandit.replay.made_up_table import made_up

TABLE = made_up(30)
VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
SHUFFLED = np.random.default_rng(1).permutation(30)


def lengths(texts: Sequence[str]) -> Vectors:
    return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


def test_any_callable_encodes() -> None:
    assert encode(TABLE, lengths)[:, 0].tolist() == [len(prompt) for prompt in TABLE.prompts]


def test_encoder_that_forgets_a_prompt_is_refused() -> None:
    with pytest.raises(BadTable, match=r"shape \(29, 2\); needed: finite, 30 rows"):
        encode(TABLE, lambda texts: lengths(texts[1:]))


def test_cache_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npz", TABLE, VECTORS)
    assert np.array_equal(read_vectors(tmp_path / "v.npz", TABLE), VECTORS)


def test_rows_are_matched_by_prompt_id_whatever_their_order(tmp_path: Path) -> None:
    ids = np.array(TABLE.prompt_ids)[SHUFFLED]
    np.savez(tmp_path / "v.npz", prompt_id=ids, vector=VECTORS[SHUFFLED])
    assert np.array_equal(read_vectors(tmp_path / "v.npz", TABLE), VECTORS)


def test_hash_of_the_prompt_is_believed_before_its_id(tmp_path: Path) -> None:
    """Ids of two tables may both be 0, 1, 2, …; then an id says nothing of the prompt."""
    write_vectors(tmp_path / "v.npz", TABLE, VECTORS)
    with np.load(tmp_path / "v.npz") as stored:
        parts = {**stored, "prompt_id": stored["prompt_id"][::-1]}
    np.savez(tmp_path / "v.npz", **parts)
    assert np.array_equal(read_vectors(tmp_path / "v.npz", TABLE), VECTORS)


def test_plain_array_is_taken_in_the_tables_order(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    assert np.array_equal(read_vectors(tmp_path / "v.npy", TABLE), VECTORS)


def test_cache_of_another_table_is_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npz", made_up(30, seed=7), VECTORS)
    with pytest.raises(BadTable, match=r"no vector for \d+ of 30 prompts"):
        read_vectors(tmp_path / "v.npz", TABLE)
    np.save(tmp_path / "v.npy", VECTORS[:9])
    with pytest.raises(BadTable, match="needed: finite, 30 rows"):
        read_vectors(tmp_path / "v.npy", TABLE)


def test_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    bad = VECTORS.copy()
    bad[3, 1] = np.nan
    np.save(tmp_path / "v.npy", bad)
    with pytest.raises(BadTable, match="finite"):
        read_vectors(tmp_path / "v.npy", TABLE)


def test_file_that_is_no_array_or_runs_code_when_loaded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("text.npz", "pickled.npy", "nowhere.npz"):
        with pytest.raises(BadTable, match="cannot be read"):
            read_vectors(tmp_path / name, TABLE)


def test_archive_without_vectors_lists_what_is_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", other=VECTORS)
    with pytest.raises(BadTable, match="holds other; needed: vector, and prompt_id or prompt_sha256"):
        read_vectors(tmp_path / "v.npz", TABLE)
