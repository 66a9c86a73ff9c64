from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from replicas.errors import ModelNotLoadable
from replicas.sentence_projection import INPUT_NUMBERS, OUTPUT_NUMBERS, PROJECTION, load_projection

PARTS = {
    "mean": np.zeros(INPUT_NUMBERS, np.float32),
    "basis": np.eye(INPUT_NUMBERS, OUTPUT_NUMBERS, dtype=np.float32),
    "probe": np.zeros(INPUT_NUMBERS, np.float32),
}


def unit_vectors(count: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, INPUT_NUMBERS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_projection_in_the_tree_is_orthonormal_and_centred_on_sentences() -> None:
    projection = load_projection()
    basis = projection.basis.astype(np.float64)
    assert basis.shape == (INPUT_NUMBERS, OUTPUT_NUMBERS)
    assert np.abs(basis.T @ basis - np.eye(OUTPUT_NUMBERS)).max() < 1e-6
    assert np.linalg.norm(projection.probe) == pytest.approx(1, abs=1e-5)
    assert 0.1 < np.linalg.norm(projection.mean) < 0.9  # prompts have something in common, and differ


def test_the_projection_takes_the_mean_off_and_turns_what_is_left() -> None:
    projection = load_projection()
    vectors = unit_vectors(3)
    by_hand = [
        [sum((float(v[i]) - float(projection.mean[i])) * float(projection.basis[i, j]) for i in range(INPUT_NUMBERS))
         for j in (0, 1, 127)]
        for v in vectors
    ]  # fmt: skip
    found = projection(vectors)
    assert (found.shape, found.dtype) == ((3, OUTPUT_NUMBERS), np.float32)
    assert found[:, [0, 1, 127]] == pytest.approx(np.array(by_hand), abs=1e-6)
    assert np.linalg.norm(found, axis=1).max() <= 2
    assert projection(vectors[1:2])[0] == pytest.approx(found[1], abs=1e-6)


def test_the_projection_keeps_more_of_a_sentence_than_of_noise() -> None:
    """What a file with a shuffled or random basis would not do."""
    projection = load_projection()
    of_noise = np.linalg.norm((unit_vectors(200) - projection.mean) @ projection.basis, axis=1).mean()
    assert np.linalg.norm(projection(projection.probe[None])) > 1.25 * of_noise


def test_the_projection_says_of_what_and_under_which_licence_it_is_made() -> None:
    with safe_open(PROJECTION, "np") as file:
        metadata = file.metadata()
    assert metadata["licence"].startswith("Apache-2.0")
    assert "holds no prompt" in metadata["what"]
    assert {"encoder", "sources", "weights", "probe", "made_by", "date"} <= metadata.keys()
    assert "hpsv2" not in metadata["sources"]
    assert "drawbench" not in metadata["sources"]
    assert PROJECTION.stat().st_size < 256 * 1024


def test_the_projection_refuses_vectors_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"needed: \[B, 384\]"):
        load_projection()(np.zeros((2, 383), np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": np.zeros(383, np.float32)},
        {"basis": np.eye(INPUT_NUMBERS, dtype=np.float32)},
        {"basis": np.full((INPUT_NUMBERS, OUTPUT_NUMBERS), np.nan, np.float32)},
        {"probe": np.zeros(INPUT_NUMBERS, np.float64)},
    ],
    ids=["width", "square", "nan", "float64"],
)
def test_load_projection_refuses_parts_of_another_kind(tmp_path: Path, wrong: dict[str, np.ndarray]) -> None:
    save_file(PARTS | wrong, tmp_path / "p.safetensors")
    with pytest.raises(ModelNotLoadable, match=next(iter(wrong))):
        load_projection(tmp_path / "p.safetensors")


def test_load_projection_refuses_a_missing_part_and_a_missing_or_broken_file(tmp_path: Path) -> None:
    save_file({"mean": PARTS["mean"]}, tmp_path / "part.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    for name in ("part", "broken", "missing"):
        with pytest.raises(ModelNotLoadable, match="restore the file"):
            load_projection(tmp_path / f"{name}.safetensors")
