import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from replicas.errors import EncodingFailed, ModelNotLoadable, NotLoaded
from replicas.starflow.text import TextEncoder, width_of

WINDOW = 12
PROMPTS = ["a cat", "", "two dogs"]


@pytest.fixture(scope="module")
def encoder(t5_folder: Path) -> TextEncoder:
    encoder = TextEncoder(str(t5_folder), window=WINDOW)
    encoder.load()
    return encoder


def test_states_are_those_of_the_whole_model_and_zero_where_the_prompt_has_ended(
    encoder: TextEncoder, t5_folder: Path
) -> None:
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    states = encoder.encode(PROMPTS).states
    assert states.shape == (3, WINDOW, encoder.width)
    assert encoder.width == width_of(str(t5_folder)) == 24
    whole = T5ForConditionalGeneration.from_pretrained(t5_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(t5_folder)
    for prompt, found in zip(PROMPTS, states, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]  # without padding at all
        expected = whole.encoder(ids).last_hidden_state[0]
        torch.testing.assert_close(found[: len(expected)], expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(found[len(expected) :], torch.zeros(WINDOW - len(expected), encoder.width))


def test_states_of_a_prompt_are_the_same_bits_alone_and_in_a_batch(encoder: TextEncoder) -> None:
    together = encoder.encode(PROMPTS).states
    alone = torch.cat([encoder.encode([prompt]).states for prompt in PROMPTS])
    assert torch.equal(together, alone)


def test_prompt_longer_than_the_window_is_cut_and_said_so(encoder: TextEncoder) -> None:
    fits, too_long = "a" * (WINDOW - 1), "a" * WINDOW  # the end mark takes the last place
    encoded = encoder.encode([fits, too_long, "a" * 100_000])
    assert encoded.cut == (False, True, True)
    assert torch.equal(encoded.states[0], encoded.states[1])
    assert encoder.encode([]).states.shape == (0, WINDOW, encoder.width)


def test_cutting_writes_no_prompt_to_the_log(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    encoder.encode(["secret " * 20])
    assert "secret" not in caplog.text


def test_any_text_has_states(encoder: TextEncoder) -> None:
    assert torch.isfinite(encoder.encode(["\ud800 lone", "日本", "\0", "\n\n"]).states).all()


def test_one_text_instead_of_a_list_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(TypeError, match="give a list"):
        encoder.encode("a cat")


def test_not_loaded_or_closed_says_so(t5_folder: Path) -> None:
    encoder = TextEncoder(str(t5_folder), window=WINDOW)
    with pytest.raises(NotLoaded):
        encoder.encode(["a cat"])
    encoder.load()
    encoder.close()
    with pytest.raises(NotLoaded):
        encoder.encode(["a cat"])


@pytest.fixture
def copied(t5_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(t5_folder, tmp_path / "t5"))


def load(folder: Path) -> None:
    TextEncoder(str(folder), window=WINDOW).load()


def test_missing_weights_are_an_error_and_not_random(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "encoder.block.1" not in name}
    save_file(kept, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotLoadable, match=r"lacks \d+ weights, first 'encoder.block.1"):
        load(copied)


def test_weights_that_are_not_finite_are_found_when_they_encode(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["encoder.final_layer_norm.weight"][0] = torch.nan
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    encoder = TextEncoder(str(copied), window=WINDOW)
    encoder.load()
    with pytest.raises(EncodingFailed, match="bfloat16 or float32"):
        encoder.encode(["a cat"])


def test_truncated_weights_are_an_error(copied: Path) -> None:
    content = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelNotLoadable, match="cannot be loaded"):
        load(copied)


def test_another_family_and_pickles_are_refused(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ModelNotLoadable, match=r"type 'bert'.*allowed: t5"):
        load(copied)
    (copied / "config.json").write_text("no json")
    with pytest.raises(ModelNotLoadable, match="no readable config"):
        load(copied)
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelNotLoadable, match=r"pytorch_model.bin.*only safetensors"):
        load(copied)


def test_hub_id_needs_a_pinned_revision() -> None:
    with pytest.raises(ModelNotLoadable, match="40 hexadecimal digits"):
        TextEncoder("google/flan-t5-xl", window=WINDOW).load()
