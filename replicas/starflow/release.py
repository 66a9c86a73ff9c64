"""Released YAML configurations: which of their arguments build the model, which serve it, which only trained it.

    release = read_release(Path("starflow_3B_t2i_256x256.yaml"))
    release.config            # FlowConfig, in latent pixels
    release.text_encoder      # "google/flan-t5-xl"

A released configuration is a list of `arguments`, each one a name and a value; what is left out has the released
program's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from replicas.errors import ModelNotLoadable

from .config import FlowConfig

# YAML name -> constructor name, where they differ, or the same name.
_MODEL = {
    "channel_size": "in_channels", "blocks": "num_blocks",
    **{name: name for name in (
        "patch_size", "channels", "layers_per_block", "head_dim", "num_heads", "num_kv_heads", "rope", "pt_seq_len",
        "sos", "txt_size", "cond_top_only", "use_softplus", "use_swiglu", "use_bias", "use_qk_norm", "use_post_norm",
        "use_final_norm", "norm_type", "soft_clip", "seq_order", "top_block_channels",
    )},
}  # fmt: skip
# Defaults of the released program that differ from the constructor's or have none there.
_DEFAULTS: Mapping[str, Any] = {
    "img_size": 32, "channel_size": 3, "patch_size": 4, "channels": 512, "blocks": 4, "layers_per_block": 8,
    "txt_size": 0, "noise_std": 0.3, "cfg": 0.0, "vae": None, "text": None,
}  # fmt: skip
_SERVING = frozenset({"img_size", "vae", "text", "noise_std", "cfg", "mix_aspect", "finetuned_vae"})
_ONE_VALUE = frozenset({"adaln", "noise_type"})  # of which only the common value is loaded
# Changes the model and is not built here; "off" is 0, null or absent.
_UNSUPPORTED = frozenset(
    {
        "vid_size", "fps_cond", "use_pretrained_lm", "learnable_self_denoiser", "conditional_denoiser",
        "noise_embed_denoiser", "temporal_causal", "shallow_block_local", "denoiser_window", "local_attn_window",
        "cond_noise_level", "model_type",
    }
)  # fmt: skip
_TRAINING_ONLY = frozenset(
    """
    acc batch_size caption_column compile data dataset drop_image drop_label dry_run epoch_length epochs
    fp8 fsdp fsdp_text_encoder grad_clip grad_skip gradient_checkpoint gradient_checkpoint_mlp last_frame_cond
    latent_norm_regularization logdir loss_scaling lr min_lr no_flip num_samples nvp
    resume_epoch resume_path sample_batch_size sample_freq save_every secondary_batch_size secondary_dataset
    secondary_img_size secondary_ratio secondary_vid_size train_seed use_8bit_adam use_mm_attn vae_decoder_factor
    video_to_video wandb_name warmup_steps wds
    """.split()
)
# Widths of the text encoders that released configurations name; the width of a given encoder goes before them.
TEXT_WIDTHS: Mapping[str, int] = {"google/flan-t5-xl": 2048, "google/flan-t5-xxl": 4096, "google/flan-t5-large": 1024}
_NO_FINETUNED = (None, "none", "")
DOWNSAMPLING = 8  # pixels a latent pixel of the autoencoders that released image configurations name


@dataclass(frozen=True, slots=True)
class Release:
    """A released model without its weights."""

    config: FlowConfig
    image_size_px: int  # side of the square image that it was trained on
    pixels_per_latent: int
    autoencoder: str | None  # name of the released autoencoder; None: the flow draws pixels
    text_encoder: str | None
    noise_std: float  # standard deviation added to the latents in training, which the denoising step takes out
    guidance: float  # the released configuration's own
    denoise: bool  # False where the autoencoder was fine-tuned to decode latents with that noise
    names_aspect: bool  # it was trained on several aspect ratios, and its prompts ended with theirs


def read_release(path: Path, *, text_width: int | None = None) -> Release:
    """Read a released YAML file. `text_width` is the width of the text encoder's states; None: known by its name.

    Raises ModelNotLoadable.
    """
    given = _arguments(path)
    known = set(_MODEL) | _SERVING | _ONE_VALUE | _UNSUPPORTED | _TRAINING_ONLY
    unknown = sorted(set(given) - known)
    if unknown:
        raise ModelNotLoadable(f"{path}: unknown arguments: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    unsupported = sorted(name for name in _UNSUPPORTED & set(given) if given[name])
    if unsupported:
        raise ModelNotLoadable(
            f"{path}: asks for {', '.join(unsupported)}, which belong to video models, to pretrained language models "
            "or to training on several noise levels; text-to-image flows without them are loaded"
        )
    _check_kind(path, given)
    if not given.get("nvp", 1):
        raise ModelNotLoadable(
            f"{path}: nvp is {given['nvp']!r}; only affine flows (nvp: 1) exist in the released code"
        )
    values = {**_DEFAULTS, **given}
    options = {_MODEL[name]: values[name] for name in _MODEL if name in values}
    options["layers_per_block"] = _numbers(path, "layers_per_block", values["layers_per_block"], int)
    if len(options["layers_per_block"]) > 1:  # then the released program counts them and ignores `blocks`
        options["num_blocks"] = len(options["layers_per_block"])
    factor = DOWNSAMPLING if values["vae"] else 1
    image_size_px = values["img_size"]
    if not isinstance(image_size_px, int) or image_size_px < factor or image_size_px % factor:
        raise ModelNotLoadable(f"{path}: img_size is {image_size_px!r}; allowed: a multiple of {factor} px")
    options["img_size"] = image_size_px // factor
    text = values["text"]
    if options["txt_size"]:
        options["txt_dim"] = text_width or TEXT_WIDTHS.get(str(text), 0)
        if not options["txt_dim"]:
            known_names = ", ".join(TEXT_WIDTHS)
            raise ModelNotLoadable(
                f"{path}: the width of text encoder {text!r} is not known; give text_width, or one of: {known_names}"
            )
    try:
        config = FlowConfig.from_constructor(options)
    except ModelNotLoadable as error:
        raise ModelNotLoadable(f"{path}: {error}") from error
    noise_std = _numbers(path, "noise_std", values["noise_std"], float)[0]
    guidance = _numbers(path, "cfg", values["cfg"], float)[0]
    if not 0 < noise_std < float("inf") or not 0 <= guidance < float("inf"):
        raise ModelNotLoadable(f"{path}: noise_std {noise_std} and cfg {guidance}; allowed: above 0, and at least 0")
    return Release(
        config, image_size_px, factor, values["vae"] or None, text, noise_std, guidance,
        denoise=given.get("finetuned_vae") in _NO_FINETUNED, names_aspect=bool(values.get("mix_aspect")),
    )  # fmt: skip


def _check_kind(path: Path, given: Mapping[str, Any]) -> None:
    """Refuse what the released program does otherwise than is done here."""
    if given.get("adaln"):
        raise ModelNotLoadable(
            f"{path}: adaln is {given['adaln']!r}; transformer layers with adaptive norms are not built, only adaln: 0"
        )
    if given.get("noise_type", "gaussian") != "gaussian":
        raise ModelNotLoadable(
            f"{path}: noise_type is {given['noise_type']!r}; allowed: gaussian, which the denoising step and the "
            "likelihood assume"
        )
    for name in ("vae", "text", "finetuned_vae"):
        value = given.get(name)
        if value is not None and not isinstance(value, str):
            raise ModelNotLoadable(f"{path}: {name} is {value!r}; allowed: a name, or leave it out")
    if str(given.get("text")).endswith(".vocab"):
        raise ModelNotLoadable(
            f"{path}: text is {given['text']!r}, so the flow reads class labels; only flows that read the states of a "
            "T5 or nothing are loaded"
        )


def _arguments(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ModelNotLoadable(
            f"{path}: not readable as YAML ({error}); give the released configuration file"
        ) from error
    arguments = content.get("arguments") if isinstance(content, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(one, dict) for one in arguments):
        raise ModelNotLoadable(f"{path}: a released configuration holds `arguments:`, a list of `- name: value`")
    given: dict[str, Any] = {}
    for one in arguments:
        for name, value in one.items():
            if name in given:
                raise ModelNotLoadable(f"{path}: {name} is given twice; keep one")
            given[str(name)] = None if value == "None" else value
    return given


def _numbers(path: Path, name: str, value: Any, kind: type) -> list[Any]:
    """`2 2 24`, a list or one number -> a list of numbers, as the released command line takes them."""
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        if any(isinstance(word, bool) or (kind is int and isinstance(word, float)) for word in words):
            raise ValueError("true and false are no numbers, and counts have no fraction")
        return [kind(word) for word in words] or [kind("")]
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelNotLoadable(
            f"{path}: {name} is {value!r}; allowed: {'whole ' if kind is int else ''}numbers with spaces between them"
        ) from error
