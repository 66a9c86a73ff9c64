"""Tiny CLIP and SigLIP models with random weights, built with the real library, saved and loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replicas.clip_scorer import ClipScorer
from replicas.errors import ModelNotLoadable, NotLoaded, ScoringFailed

TEXT = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
PROMPTS = ["two cats", "a red dog on a bed", "a"]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, save_clip_tokenizer: Callable[[Path], object]) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(2)  # weights with cosines on both sides of 0: of most seeds, all three pairs are clipped
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    save_clip_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory, save_clip_tokenizer: Callable[[Path], object]) -> Path:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-1.0)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    save_clip_tokenizer(folder)
    return folder


def pictures(count: int, height_px: int = 24, width_px: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height_px, width_px, 3), dtype=np.uint8)


def loaded_scorer(folder: Path, **options: Any) -> ClipScorer:
    scorer = ClipScorer(str(folder), **options)
    scorer.load("cpu")
    return scorer


def joint_space(folder: Path, images: np.ndarray, prompts: list[str]) -> Any:
    """What transformers itself computes from its own processors, for all pairs."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
    siglip = model.config.model_type == "siglip"
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 16} if siglip else {"padding": True}
    tokens = AutoTokenizer.from_pretrained(folder)(prompts, return_tensors="pt", truncation=True, **padding)
    if siglip:
        tokens.pop("attention_mask")
    with torch.no_grad():
        return model(**tokens, **pixels)


def test_score_clip_is_clipscore(clip_folder: Path) -> None:
    images = pictures(3)
    expected = joint_space(clip_folder, images, PROMPTS)
    cosine = (expected.image_embeds * expected.text_embeds).sum(-1).numpy()
    scores = loaded_scorer(clip_folder).score(images, PROMPTS)
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.clip(2.5 * np.maximum(cosine, 0), 0, 1), atol=1e-5)
    assert len(set(scores.tolist())) > 1


def test_score_siglip_is_its_probability(siglip_folder: Path) -> None:
    images = pictures(3)
    logits = joint_space(siglip_folder, images, PROMPTS).logits_per_image.diagonal()
    scores = loaded_scorer(siglip_folder).score(images, PROMPTS)
    np.testing.assert_allclose(scores, torch.sigmoid(logits).numpy(), atol=1e-5)
    assert len(set(scores.tolist())) == 3


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_score_of_batch_equals_score_alone(kind: str, request: pytest.FixtureRequest) -> None:
    scorer = loaded_scorer(request.getfixturevalue(f"{kind}_folder"))
    images = pictures(3, 40, 24)
    alone = [scorer.score(images[i : i + 1], PROMPTS[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(scorer.score(images, PROMPTS), alone, atol=1e-5)


def test_score_stays_in_the_unit_interval_at_both_ends(clip_folder: Path) -> None:
    """Aligned embeddings have cosine 1, so 2.5 before the cut; opposite ones have -1."""
    scorer = loaded_scorer(clip_folder)
    images = pictures(1)
    expected = joint_space(clip_folder, images, PROMPTS[:1])
    text, image = expected.text_embeds[0], expected.image_embeds[0]
    for sign, score in ((1, 1.0), (-1, 0.0)):
        # A rank-one change of the projection that sends this image's embedding to (plus or minus) the text's.
        with torch.no_grad():
            original = scorer._model.visual_projection.weight.clone()
            turn = torch.outer(sign * text, image / image.dot(image))
            scorer._model.visual_projection.weight.copy_(turn @ original)
        assert scorer.score(images, PROMPTS[:1])[0] == score
        scorer._model.visual_projection.weight.data.copy_(original)


def test_score_prompt_longer_than_the_model_is_cut(clip_folder: Path) -> None:
    assert loaded_scorer(clip_folder).score(pictures(1), ["a very long prompt " * 50]).shape == (1,)


def test_score_picture_three_pixels_high_is_not_taken_for_channels_first(siglip_folder: Path) -> None:
    images = pictures(2, 3, 9)
    logits = joint_space(siglip_folder, images, PROMPTS[:2]).logits_per_image.diagonal()
    scores = loaded_scorer(siglip_folder).score(images, PROMPTS[:2])
    np.testing.assert_allclose(scores, torch.sigmoid(logits).numpy(), atol=1e-5)


def test_load_bfloat16_scores_nearly_the_same(clip_folder: Path) -> None:
    scorer = loaded_scorer(clip_folder, dtype="bfloat16")
    assert scorer._model.dtype == torch.bfloat16
    images = pictures(3)
    scores = scorer.score(images, PROMPTS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, loaded_scorer(clip_folder).score(images, PROMPTS), atol=0.1)


def test_score_values_that_are_not_finite_are_an_error(clip_folder: Path) -> None:
    scorer = loaded_scorer(clip_folder)
    with torch.no_grad():
        scorer._model.visual_projection.weight.fill_(torch.nan)
    with pytest.raises(ScoringFailed, match="not finite"):
        scorer.score(pictures(1), ["a"])


def test_score_without_a_prompt_for_each_image_is_refused(clip_folder: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        loaded_scorer(clip_folder).score(pictures(2), ["a"])


def test_score_before_load_and_after_close_is_refused(clip_folder: Path) -> None:
    scorer = ClipScorer(str(clip_folder))
    with pytest.raises(NotLoaded):
        scorer.score(pictures(1), ["a"])
    scorer.load("cpu")
    scorer.close()
    with pytest.raises(NotLoaded):
        scorer.score(pictures(1), ["a"])


def copy_without(folder: Path, target: Path, *left_out: str) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        if path.name not in left_out:
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_load_pickle_only_folder_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = copy_without(clip_folder, tmp_path / "unsafe", "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelNotLoadable, match=r"pytorch_model\.bin"):
        ClipScorer(str(folder)).load("cpu")


@pytest.mark.parametrize("left_out", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_load_incomplete_folder_is_refused(clip_folder: Path, tmp_path: Path, left_out: str) -> None:
    folder = copy_without(clip_folder, tmp_path / "incomplete", left_out, "processor_config.json")
    with pytest.raises(ModelNotLoadable, match=left_out.split(".")[0].split("_")[0]):
        ClipScorer(str(folder)).load("cpu")


def test_load_another_kind_of_model_names_the_allowed_ones(clip_folder: Path, tmp_path: Path) -> None:
    folder = copy_without(clip_folder, tmp_path / "other", "config.json")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelNotLoadable, match="'bert'; allowed: clip, siglip"):
        ClipScorer(str(folder)).load("cpu")


def test_load_hub_id_without_a_commit_is_refused() -> None:
    with pytest.raises(ModelNotLoadable, match="40 hexadecimal digits"):
        ClipScorer("openai/clip-vit-base-patch32", revision="main").load("cpu")


def test_clip_scorer_unknown_dtype_names_the_known_ones() -> None:
    with pytest.raises(ModelNotLoadable, match="float32, bfloat16, float16"):
        ClipScorer("anywhere/atall", dtype="int8")
