"""On the tiny pipelines of conftest.py: random weights, but the real libraries and files. Nothing is downloaded."""

import json
import logging
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from replicas.diffusion import SCHEDULERS, DiffusionTier, build_scheduler, build_transformer, build_unet
from replicas.errors import DrawingFailed, ModelNotLoadable, NotLoaded, SizeNotPossible, UnknownPreset
from replicas.tier import GenerationRequest

# diffusers' schedulers turn tensors into arrays in a way that numpy 2 is about to give up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning:diffusers")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNET = {
    "sample_size": 4,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": 16,
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


OPTIONS: dict[str, dict[str, Any]] = {
    "stable_diffusion": {"negative_prompt": "ugly", "eta": 0.5},
    "pixart_sigma": {"use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 8},
    "stable_diffusion_3": {"negative_prompt": "ugly", "max_sequence_length": 8},
    "flux": {"max_sequence_length": 8},
}
NATIVE_SIZE_PX = {"stable_diffusion": 32, "pixart_sigma": 32, "stable_diffusion_3": 32, "flux": 1024}
SIZE_MULTIPLE_PX = {"stable_diffusion": 8, "pixart_sigma": 16, "stable_diffusion_3": 16, "flux": 16}


def loaded_tier(folder: Path, kind: str = "stable_diffusion", **options: Any) -> DiffusionTier:
    presets = {"fast": {"steps": 2, "guidance": 3.0, **OPTIONS[kind]}, "slow": {"steps": 4, **OPTIONS[kind]}}
    tier = DiffusionTier(str(folder), presets, **options)
    tier.load("cpu")
    return tier


def request(prompt: str, seed: int, preset: str = "fast", side_px: int = 32) -> GenerationRequest:
    return GenerationRequest(prompt, seed, preset, side_px, side_px)


def unsafe_copy(source: Path, target: Path) -> Path:
    """The same pipeline with its UNet in a pickle."""
    shutil.copytree(source, target)
    (target / "unet" / "diffusion_pytorch_model.safetensors").rename(target / "unet" / "diffusion_pytorch_model.bin")
    return target


@pytest.mark.parametrize("kind", OPTIONS)
def test_generate_batch_has_shape_is_repeatable_and_equals_images_alone(
    tiny_pipelines: dict[str, Path], kind: str
) -> None:
    tier = loaded_tier(tiny_pipelines[kind], kind)
    requests = [request("two cats", 1), request("a red dog on a bed", 2), request("two cats", 3)]
    batch = tier.generate(requests)
    assert batch.shape == (3, 32, 32, 3)
    assert batch.dtype == np.uint8
    assert np.array_equal(batch, tier.generate(requests))
    assert not np.array_equal(batch[0], batch[2])
    for i, one in enumerate(requests):
        alone = tier.generate([one])[0]
        # Matrix products of other shapes round otherwise, which can move a value over the edge of one level.
        assert np.abs(alone.astype(int) - batch[i]).max() <= 1


@pytest.mark.parametrize("kind", OPTIONS)
def test_load_knows_native_size_and_multiple(tiny_pipelines: dict[str, Path], kind: str) -> None:
    tier = loaded_tier(tiny_pipelines[kind], kind)
    assert tier.native_size_px == (NATIVE_SIZE_PX[kind],) * 2
    multiple = SIZE_MULTIPLE_PX[kind]
    assert tier.generate([GenerationRequest("a", 0, "fast", 2 * multiple, 3 * multiple)]).shape[1:3] == (
        2 * multiple,
        3 * multiple,
    )
    with pytest.raises(SizeNotPossible, match=rf"multiples of {multiple} px; its own size is {NATIVE_SIZE_PX[kind]}"):
        tier.generate([GenerationRequest("a", 0, "fast", multiple, multiple + multiple // 2)])


def test_generate_steps_and_prompt_change_the_image(tiny_pipelines: dict[str, Path]) -> None:
    tier = loaded_tier(tiny_pipelines["stable_diffusion"])
    images = [tier.generate([one])[0] for one in (request("a", 1), request("b", 1), request("a", 1, "slow"))]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_warm_up_draws_once_with_few_steps(tiny_pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tier = DiffusionTier(str(tiny_pipelines["stable_diffusion"]), {"slow": {"steps": 30}})
    tier.load("cpu")
    calls: list[dict[str, Any]] = []
    call = type(tier._pipeline).__call__
    monkeypatch.setattr(
        type(tier._pipeline), "__call__", lambda self, **given: calls.append(given) or call(self, **given)
    )
    tier.warm_up()
    assert [(given["num_inference_steps"], given["height"]) for given in calls] == [(2, 32)]


def test_load_bfloat16_keeps_all_parts_in_it(tiny_pipelines: dict[str, Path]) -> None:
    tier = loaded_tier(tiny_pipelines["stable_diffusion"], dtype="bfloat16")
    parts = (tier._pipeline.unet, tier._pipeline.vae, tier._pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.bfloat16}
    images = tier.generate([request("a", 1), request("b", 2)])
    assert images.shape == (2, 32, 32, 3)
    assert images.std() > 0


def test_load_image_to_image_pipeline_becomes_text_to_image(tiny_pipelines: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pipelines["stable_diffusion"], tmp_path / "copy")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionImg2ImgPipeline"}))
    expected = loaded_tier(tiny_pipelines["stable_diffusion"]).generate([request("a", 1)])
    assert np.array_equal(loaded_tier(folder).generate([request("a", 1)]), expected)


def test_load_pipeline_without_prompt_is_refused(tmp_path: Path) -> None:
    from diffusers import DDIMPipeline, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDIMPipeline(unet, build_scheduler("ddim")).save_pretrained(tmp_path)
    with pytest.raises(ModelNotLoadable, match="DDIMPipeline, which does not draw from text alone"):
        DiffusionTier(str(tmp_path)).load("cpu")


def test_load_pickle_only_folder_is_refused(tiny_pipelines: dict[str, Path], tmp_path: Path) -> None:
    folder = unsafe_copy(tiny_pipelines["stable_diffusion"], tmp_path / "unsafe")
    with pytest.raises(ModelNotLoadable, match=r"unet/diffusion_pytorch_model\.bin"):
        loaded_tier(folder)


def test_load_missing_path_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoadable, match=r"there is no such folder.*correct the path"):
        DiffusionTier(str(tmp_path / "nowhere")).load("cpu")


def test_load_folder_that_is_no_pipeline_says_what_to_give(tiny_pipelines: dict[str, Path]) -> None:
    with pytest.raises(ModelNotLoadable, match="save_pretrained"):
        DiffusionTier(str(tiny_pipelines["stable_diffusion"] / "unet")).load("cpu")


def test_load_incomplete_folder_names_the_pipeline(tiny_pipelines: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pipelines["stable_diffusion"], tmp_path / "copy")
    shutil.rmtree(folder / "vae")
    with pytest.raises(ModelNotLoadable, match=r"\(StableDiffusionPipeline\) cannot be loaded"):
        loaded_tier(folder)


def test_load_code_that_comes_with_a_model_is_not_run(tiny_pipelines: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pipelines["stable_diffusion"], tmp_path / "copy")
    (folder / "their_pipeline.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    (folder / "unet" / "their_pipeline.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    index = json.loads((folder / "model_index.json").read_text())
    for changed in ({"_class_name": ["their_pipeline", "Theirs"]}, {"unet": ["their_pipeline", "Theirs"]}):
        (folder / "model_index.json").write_text(json.dumps({**index, **changed}))
        with pytest.raises(ModelNotLoadable):
            loaded_tier(folder)
    assert not (tmp_path / "was_run").exists()


def test_load_safety_checker_is_neither_needed_nor_fetched(tiny_pipelines: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pipelines["stable_diffusion"], tmp_path / "copy")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert loaded_tier(folder).generate([request("a", 1)]).shape == (1, 32, 32, 3)


def test_load_hub_id_offline_takes_the_pinned_commit_from_the_cache(
    tiny_pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(tiny_pipelines["stable_diffusion"], folder)
    presets = {"fast": {"steps": 2, "guidance": 3.0, **OPTIONS["stable_diffusion"]}}
    tier = DiffusionTier("owner/name", presets, revision=COMMIT)
    tier.load("cpu")
    expected = loaded_tier(tiny_pipelines["stable_diffusion"]).generate([request("a", 1)])
    assert np.array_equal(tier.generate([request("a", 1)]), expected)
    with pytest.raises(ModelNotLoadable, match="HF_HUB_OFFLINE"):
        DiffusionTier("owner/name", revision=COMMIT[::-1]).load("cpu")
    with pytest.raises(ModelNotLoadable, match="40 hexadecimal digits"):
        DiffusionTier("owner/name", revision="main").load("cpu")


def test_load_unknown_preset_option_names_the_pipelines_own(tiny_pipelines: dict[str, Path]) -> None:
    tier = DiffusionTier(
        str(tiny_pipelines["stable_diffusion"]), {"fast": {"steps": 2, "use_resolution_binning": False}}
    )
    with pytest.raises(UnknownPreset, match=r"has no option use_resolution_binning; it has: .*guidance.*steps"):
        tier.load("cpu")


@pytest.mark.parametrize("name", ["prompt", "generator", "height", "output_type", "prompt_embeds", "latents"])
def test_load_preset_option_that_belongs_to_the_tier_is_refused(tiny_pipelines: dict[str, Path], name: str) -> None:
    with pytest.raises(UnknownPreset, match=f"has no option {name};"):
        DiffusionTier(str(tiny_pipelines["stable_diffusion"]), {"fast": {name: 1}}).load("cpu")


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 2.5}, {"steps": True}, {"guidance": -1.0}, {"guidance": float("nan")}, {"guidance": "7"}],
)
def test_diffusion_tier_impossible_preset_is_refused_before_loading(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownPreset, match=f"'fast': {next(iter(options))} is "):
        DiffusionTier("anywhere/atall", {"fast": options})


def test_diffusion_tier_unknown_dtype_names_the_known_ones() -> None:
    with pytest.raises(ModelNotLoadable, match="float32, bfloat16, float16"):
        DiffusionTier("anywhere/atall", dtype="int8")


def test_generate_before_load_and_after_close_is_refused(tiny_pipelines: dict[str, Path]) -> None:
    tier = DiffusionTier(str(tiny_pipelines["stable_diffusion"]), {"fast": {"steps": 1}})
    with pytest.raises(NotLoaded):
        tier.generate([request("a", 1)])
    tier.load("cpu")
    tier.close()
    with pytest.raises(NotLoaded):
        tier.generate([request("a", 1)])


def test_generate_unknown_preset_names_the_known_ones(tiny_pipelines: dict[str, Path]) -> None:
    with pytest.raises(UnknownPreset, match="'best' is unknown; this tier has: fast, slow"):
        loaded_tier(tiny_pipelines["stable_diffusion"]).generate([request("a", 1, "best")])


def test_generate_values_that_are_not_finite_are_an_error(tiny_pipelines: dict[str, Path]) -> None:
    tier = loaded_tier(tiny_pipelines["stable_diffusion"])
    with torch.no_grad():
        tier._pipeline.vae.decoder.conv_out.bias.fill_(torch.nan)
    with pytest.raises(DrawingFailed, match="not finite"):
        tier.generate([request("a", 1)])


def test_generate_prompt_that_is_cut_off_is_not_logged(tiny_pipelines: dict[str, Path]) -> None:
    """Pipelines warn with the text that their encoder cuts off."""
    tier = loaded_tier(tiny_pipelines["stable_diffusion"])
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    loggers = [logging.getLogger(), logging.getLogger("diffusers"), logging.getLogger("transformers")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        tier.generate([request("secret " * 20, 1)])
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert not [message for message in messages if "s e c" in message or "secret" in message]


class EmbeddedDouble:
    """Stands for the embedded model: notes the verbs that reach it."""

    native_size_px = (64, 64)

    def __init__(self, presets: dict[str, Any]) -> None:
        self.presets = presets
        self.calls: list[object] = []

    def load(self, device: str) -> None:
        self.calls.append(("load", device))

    def warm_up(self) -> None:
        self.calls.append("warm_up")

    def generate(self, requests: list[GenerationRequest]) -> np.ndarray:
        self.calls.append(("generate", requests))
        return np.zeros((len(requests), 64, 64, 3), np.uint8)

    def close(self) -> None:
        self.calls.append("close")


def test_diffusion_tier_without_model_hands_all_verbs_to_the_embedded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    double = types.ModuleType("replicas.latent_diffusion")
    double.EmbeddedLatentDiffusion = EmbeddedDouble
    monkeypatch.setitem(sys.modules, "replicas.latent_diffusion", double)
    tier = DiffusionTier(presets={"fast": {"steps": 8}})
    tier.load("cpu")
    tier.warm_up()
    assert tier.native_size_px == (64, 64)
    assert tier.generate([request("a", 1)]).shape == (1, 64, 64, 3)
    tier.close()
    assert tier._embedded.presets == {"fast": {"steps": 8}}
    assert tier._embedded.calls == [("load", "cpu"), "warm_up", ("generate", [request("a", 1)]), "close"]


def test_set_presets_reaches_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    double = types.ModuleType("replicas.latent_diffusion")
    double.EmbeddedLatentDiffusion = EmbeddedDouble
    monkeypatch.setitem(sys.modules, "replicas.latent_diffusion", double)
    tier = DiffusionTier(presets={"fast": {"steps": 8}})
    tier.presets = {"slow": {"steps": 30}}
    assert tier._embedded.presets == {"slow": {"steps": 30}}


def test_set_presets_on_a_loaded_pipeline_is_checked_and_used(tiny_pipelines: dict[str, Path]) -> None:
    tier = loaded_tier(tiny_pipelines["stable_diffusion"])
    slow = tier.generate([request("a", 1, "slow")])
    with pytest.raises(UnknownPreset, match="has no option stepz"):
        tier.presets = {"new": {"stepz": 4}}
    assert np.array_equal(tier.generate([request("a", 1, "slow")]), slow)
    tier.presets = {"new": {"steps": 4, **OPTIONS["stable_diffusion"]}}
    assert np.array_equal(tier.generate([request("a", 1, "new")]), slow)


def test_native_size_given_goes_before_the_pipelines_own(tiny_pipelines: dict[str, Path]) -> None:
    assert loaded_tier(tiny_pipelines["flux"], "flux", native_size_px=(64, 32)).native_size_px == (64, 32)
    with pytest.raises(SizeNotPossible, match="multiples of 16 px"):
        loaded_tier(tiny_pipelines["flux"], "flux", native_size_px=(64, 40))


def test_diffusion_tier_revision_without_model_is_refused() -> None:
    with pytest.raises(ModelNotLoadable, match="for a given model"):
        DiffusionTier(revision=COMMIT)


def test_build_unet_mirrors_the_way_down_and_takes_lists() -> None:
    unet = build_unet({**UNET, "block_out_channels": [16, 32]})
    noise = torch.randn(2, 4, 4, 4)
    assert unet(noise, torch.tensor([1, 900]), encoder_hidden_states=torch.randn(2, 5, 16)).sample.shape == noise.shape
    assert [type(block).__name__ for block in unet.up_blocks] == ["UpBlock2D", "CrossAttnUpBlock2D"]
    assert {type(processor).__name__ for processor in unet.attn_processors.values()} == {"AttnProcessor"}


def test_build_transformer_keeps_the_shape_and_takes_no_unknown_argument() -> None:
    config = {
        "sample_size": 4,
        "patch_size": 1,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": 16,
        "use_additional_conditions": False,
    }
    transformer = build_transformer(config)
    noise = torch.randn(2, 4, 4, 4)
    drawn = transformer(
        noise, encoder_hidden_states=torch.randn(2, 5, 16), timestep=torch.tensor([1, 900]), added_cond_kwargs={}
    ).sample
    assert drawn.shape == noise.shape
    assert {type(processor).__name__ for processor in transformer.attn_processors.values()} == {"AttnProcessor"}
    with pytest.raises(ModelNotLoadable, match="heads_of_attention"):
        build_transformer({**config, "heads_of_attention": 2})


def test_build_unet_unknown_argument_is_refused() -> None:
    with pytest.raises(ModelNotLoadable, match="heads_of_attention"):
        build_unet({**UNET, "heads_of_attention": 2})


@pytest.mark.parametrize("name", SCHEDULERS)
def test_build_scheduler_sets_timesteps(name: str) -> None:
    scheduler = build_scheduler(name, num_train_timesteps=100)
    scheduler.set_timesteps(4)
    assert len(scheduler.timesteps) >= 4


def test_build_scheduler_unknown_name_or_argument_is_refused() -> None:
    with pytest.raises(ModelNotLoadable, match="known: ddim"):
        build_scheduler("ddmi")
    with pytest.raises(ModelNotLoadable, match="num_train_timestep"):
        build_scheduler("ddim", num_train_timestep=100)
