import io
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from replicas import embedded
from replicas.scenes.prompts import KINDS, sample_scene
from replicas.scenes.render import render_many
from serve.demo_check import checked, decoded
from serve.demo_prompts import Prompt


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def asked(demo_rows):
    """Ten held-out scenes drawn as they should be, and their rows."""
    scenes = [sample_scene(Random(i), KINDS[i % 5], held_out=True) for i in range(10)]
    prompts = [Prompt(i, scene, 0) for i, scene in enumerate(scenes)]
    rows = [replace(row, kind=scene.kind) for row, scene in zip(demo_rows(10, 0), scenes, strict=True)]
    pictures = render_many(scenes)
    return prompts, rows, {row.decision_id: png(pictures[row.number]) for row in rows}


def test_check_says_right_of_originals_and_wrong_of_others(asked) -> None:
    prompts, rows, images = asked
    found, reason = checked(rows, prompts, images)
    assert reason is None
    assert sum(row.right is True for row in found) >= 8
    shifted = {row.decision_id: images[rows[(row.number + 1) % 10].decision_id] for row in rows}
    found, _ = checked(rows, prompts, shifted)
    assert not any(row.right for row in found)


def test_check_leaves_out_what_it_cannot_read(asked) -> None:
    prompts, rows, images = asked
    images |= {rows[0].decision_id: b"no picture", rows[1].decision_id: png(np.zeros((8, 8, 3), np.uint8))}
    found, reason = checked(rows, prompts, images)
    assert [row.right for row in found[:2]] == [None, None]
    assert reason is None
    found, reason = checked(rows, prompts, {row.decision_id: b"" for row in rows})
    assert all(row.right is None for row in found)
    assert "64x64" in (reason or "")


def test_check_without_weights_says_so(asked, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(embedded, "WEIGHTS", tmp_path)
    prompts, rows, images = asked
    found, reason = checked(rows, prompts, images)
    assert found == rows
    assert "detector.safetensors" in (reason or "")


def test_decoded_of_nothing_is_nothing() -> None:
    assert decoded(None) is None
    assert decoded(png(np.full((64, 64, 3), 7, np.uint8))).tolist() == np.full((64, 64, 3), 7).tolist()
