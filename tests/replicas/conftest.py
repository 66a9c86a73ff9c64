"""Tiny models with random weights, built with the real libraries and saved in safetensors: nothing is downloaded."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from replicas.diffusion import build_scheduler, build_unet

T5_WIDTH = 24  # numbers in a state of `t5_folder`


def tiny_clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=16)


def tiny_clip_text(with_projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if with_projection else CLIPTextModel)(config)


def tiny_t5() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5Tokenizer(vocab=[*pieces, *((letter, -3.0) for letter in string.ascii_lowercase)], extra_ids=0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config)


def tiny_autoencoder(latent_channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        norm_num_groups=4,
        layers_per_block=1,
        shift_factor=0.1,
    )


def stable_diffusion() -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip_text(),
        tokenizer=tiny_clip_tokenizer(),
        unet=build_unet(
            {
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
        ),
        scheduler=build_scheduler("ddim", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pixart_sigma() -> Any:
    from diffusers import PixArtSigmaPipeline, PixArtTransformer2DModel

    tokenizer, text_encoder = tiny_t5()
    transformer = PixArtTransformer2DModel(
        sample_size=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=tiny_autoencoder(),
        transformer=transformer,
        scheduler=build_scheduler("dpm_solver_multistep"),
    )


def stable_diffusion_3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=build_scheduler("flow_match_euler"),
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip_text(with_projection=True),
        tokenizer=tiny_clip_tokenizer(),
        text_encoder_2=tiny_clip_text(with_projection=True),
        tokenizer_2=tiny_clip_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def flux() -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    tokenizer, text_encoder = tiny_t5()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        scheduler=build_scheduler("flow_match_euler"),
        vae=tiny_autoencoder(),
        text_encoder=tiny_clip_text(),
        tokenizer=tiny_clip_tokenizer(),
        text_encoder_2=text_encoder,
        tokenizer_2=tokenizer,
        transformer=transformer,
    )


BUILDERS = {
    "stable_diffusion": stable_diffusion,
    "pixart_sigma": pixart_sigma,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
}


@pytest.fixture(scope="session")
def tiny_pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of all tiny pipelines, in safetensors."""
    folders = {}
    for kind, build in BUILDERS.items():
        torch.manual_seed(0)
        folders[kind] = tmp_path_factory.mktemp(kind)
        build().save_pretrained(folders[kind], safe_serialization=True)
    return folders


@pytest.fixture(scope="session")
def save_clip_tokenizer() -> Callable[[Path], object]:
    """Writes a tokenizer of single letters, 16 tokens at most, into a folder."""
    return lambda folder: tiny_clip_tokenizer().save_pretrained(folder)


def letters_tokenizer() -> Any:
    """One token a letter, `</s>` at the end: what T5's tokenizer does, with a smaller vocabulary."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole T5, decoder too, as hubs hold it; its states have 24 numbers."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    tokenizer = letters_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(tokenizer), d_model=T5_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0,
        )  # fmt: skip
        T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def autoencoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AutoencoderKL of 4 channels that makes latents an eighth as wide and high."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("autoencoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
            layers_per_block=1,
        ).save_pretrained(folder)
    return folder


RELEASED_YAML = """arguments:
- img_size: 64
- txt_size: 12
- channel_size: 4
- patch_size: 1
- channels: 64
- head_dim: 32
- layers_per_block: 1 1 2
- noise_std: 0.3
- rope: 1
- sos: 1
- seq_order: L2R
- use_softplus: 1
- cond_top_only: 1
- use_final_norm: 1
- vae: stabilityai/sd-vae-ft-ema
- text: google/flan-t5-xl
- cfg: 2.5
- drop_label: 0.1
- soft_clip: 4
"""


@pytest.fixture(scope="session")
def released_flow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow in the released layout, .yaml and .pth, for `t5_folder` and `autoencoder_folder`, with random weights."""
    from replicas.starflow.model import StarFlow
    from replicas.starflow.release import read_release

    folder = tmp_path_factory.mktemp("flow")
    (folder / "tiny.yaml").write_text(RELEASED_YAML)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = StarFlow(read_release(folder / "tiny.yaml", text_width=T5_WIDTH).config)
        for name, parameter in flow.named_parameters():
            if "proj_out" in name:  # zero in a fresh flow, which is the identity then
                torch.nn.init.normal_(parameter, std=0.05)
    torch.save(flow.state_dict(), folder / "tiny.pth")
    return folder
