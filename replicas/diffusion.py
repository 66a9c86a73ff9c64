"""The only file that imports diffusers: the diffusion tier, and the parts that other tiers build from it.

    tier = DiffusionTier("/models/sdxl", presets={"draft": {"steps": 8, "guidance": 5.0}}, dtype="bfloat16")

diffusers takes seconds to import, so the imports stand inside the functions: a catalogue can be checked without them.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import loading, seeds
from .errors import DrawingFailed, ModelNotLoadable, NotLoaded, SizeNotPossible, UnknownPreset
from .tier import GenerationRequest, Tier

if TYPE_CHECKING:
    from torch import nn

    from .latent_diffusion import EmbeddedLatentDiffusion

# What a preset calls it -> what a pipeline calls it. Other options have the pipeline's own names.
_PRESET_NAMES: Mapping[str, str] = {"steps": "num_inference_steps", "guidance": "guidance_scale"}

# Arguments of a pipeline that are no preset's business: the tier gives them, or they hold tensors, images, callables.
_NOT_FOR_PRESETS = re.compile(
    r"self|prompt.*|height|width|generator|latents|output_type|return_dict|num_images_per_prompt|callback.*|image.*"
    r"|.*_embeds|.*_mask|.*_image|.*image_embeds|num_inference_steps|guidance_scale"
)

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm_solver_multistep": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "flow_match_euler": "FlowMatchEulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}


def build_unet(config: Mapping[str, Any]) -> nn.Module:
    """A fresh UNet2DConditionModel in float32: `unet(x, t, encoder_hidden_states=…).sample`.

    `config` holds its constructor's arguments. `up_block_types` may be left out: then the way up mirrors the way down.
    `attention_head_dim` is, by a naming mistake that diffusers keeps for old checkpoints, the *number* of heads.
    """
    from diffusers.models.attention_processor import AttnProcessor
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    if "down_block_types" in arguments and "up_block_types" not in arguments:
        down = reversed(arguments["down_block_types"])
        arguments["up_block_types"] = tuple(name.replace("Down", "Up") for name in down)
    try:
        unet = UNet2DConditionModel(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelNotLoadable(f"UNet config {dict(config)} was refused by UNet2DConditionModel: {error}") from error
    # Explicit softmax: on CPU, fused attention's backward in bfloat16 is several times slower.
    unet.set_attn_processor(AttnProcessor())
    return unet


def build_transformer(config: Mapping[str, Any]) -> nn.Module:
    """A fresh PixArtTransformer2DModel in float32 (Chen et al. 2023): text by cross-attention, time by adaLN-single."""
    from diffusers.models.attention_processor import AttnProcessor
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    try:
        transformer = PixArtTransformer2DModel(**config)
    except (TypeError, ValueError) as error:
        raise ModelNotLoadable(
            f"transformer config {dict(config)} was refused by PixArtTransformer2DModel: {error}"
        ) from error
    transformer.set_attn_processor(AttnProcessor())
    return transformer


def build_scheduler(name: str, **config: Any) -> Any:
    """A diffusers scheduler by one of the names in SCHEDULERS, with its constructor's arguments."""
    import diffusers

    if name not in SCHEDULERS:
        raise ModelNotLoadable(f"scheduler {name!r} is unknown; known: {', '.join(sorted(SCHEDULERS))}")
    try:
        return getattr(diffusers, SCHEDULERS[name])(**config)
    except (TypeError, ValueError) as error:
        raise ModelNotLoadable(f"scheduler {name!r} refused its config {config}: {error}") from error


def load_autoencoder(folder: Path, dtype: torch.dtype) -> nn.Module:
    """The AutoencoderKL in `folder`, or in the `vae` folder of the pipeline there, from safetensors; in eval mode."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    folder = folder if (folder / "config.json").is_file() else folder / "vae"
    only_local = {"use_safetensors": True, "local_files_only": True}
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("_class_name")
        if kind != "AutoencoderKL":
            raise ModelNotLoadable(f"model folder {folder} holds a {kind}; the allowed autoencoder is AutoencoderKL")
        model, report = AutoencoderKL.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, low_cpu_mem_usage=False, **only_local
        )  # True needs accelerate, without which it warns and does the same
    except ModelNotLoadable:
        raise
    except Exception as error:
        raise ModelNotLoadable(
            f"autoencoder {folder} cannot be loaded: {type(error).__name__}: {error}; give the folder that "
            "AutoencoderKL.save_pretrained() wrote, or that of a pipeline which has one"
        ) from error
    if report["missing_keys"]:  # diffusers fills these with something and goes on
        raise ModelNotLoadable(f"autoencoder {folder} lacks weights: {', '.join(sorted(report['missing_keys'])[:5])}")
    return model.eval().requires_grad_(False)


class DiffusionTier(Tier):
    """Any text-to-image pipeline of diffusers by `model`, or with model None the latent diffusion model of this tree.

    Presets: `steps` (int >= 1), `guidance` (float >= 0), and any plain option of the pipeline's own call. A pipeline
    draws the size that a request asks for, which must suit it; `native_size_px` is what it was trained for, known once
    loaded. A safety checker is neither fetched nor run: filter prompts and images before and behind this tier.

    An image of a batch is drawn from its own seed, and equals the same image drawn alone except for rounding in matrix
    products, as far as the pipeline itself treats the images of a batch as independent.
    """

    family = "diffusion"
    _pipeline: Any = None
    _embedded: EmbeddedLatentDiffusion | None = None

    def __init__(
        self,
        model: str | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        dtype: str = "float32",
        revision: str | None = None,
        variant: str | None = None,
        native_size_px: Sequence[int] | None = None,
    ) -> None:
        """`revision` is the pinned commit of a hub id, `variant` the suffix of its weight files ("fp16") or None.

        `native_size_px` (height, width) goes before the size that the pipeline was trained for; None: that size.
        """
        super().__init__(model, presets)
        if model is None and (dtype, revision, variant, native_size_px) != ("float32", None, None, None):
            raise ModelNotLoadable(
                "dtype, revision, variant and native_size_px are for a given model; the embedded one has its own"
            )
        self._dtype = loading.dtype_of(dtype)
        self._revision = revision
        self._variant = variant
        self._asked_size_px = native_size_px
        self._size_multiple_px = 1
        if model is None:
            from .latent_diffusion import EmbeddedLatentDiffusion

            self._embedded = EmbeddedLatentDiffusion(presets=self.presets)
            self.presets = self._embedded.presets  # where none were given, it has one of its own
            self.native_size_px = self._embedded.native_size_px

    def check_presets(self, presets: Mapping[str, Mapping[str, Any]]) -> None:
        for name, options in presets.items():
            _check_numbers(name, options)
        if self._embedded is not None:
            self._embedded.presets = presets
        if self._pipeline is not None:
            _check_names(self._pipeline, presets)

    def load(self, device: str) -> None:
        if self._embedded is not None:
            self._embedded.load(device)
            return
        assert self.model is not None
        pipeline = _load_pipeline(self.model, self._revision, self._variant, self._dtype)
        _check_names(pipeline, self.presets)
        pipeline.set_progress_bar_config(disable=True)
        _keep_prompts_out_of_logs(pipeline)
        self._size_multiple_px = _size_multiple_px(pipeline)
        height_px, width_px = self._asked_size_px or _native_size_px(pipeline, self._size_multiple_px)
        self.native_size_px = (height_px, width_px)
        self._check_size(height_px, width_px)
        self._pipeline = pipeline.to(device)

    def warm_up(self) -> None:
        if self._embedded is not None:
            self._embedded.warm_up()
            return
        self._loaded_pipeline()
        for name, options in list(self.presets.items())[:1]:
            height_px, width_px = self.native_size_px
            few_steps = {**options, "steps": min(options["steps"], 2)} if "steps" in options else options
            self._draw([GenerationRequest("warm up", 0, name, height_px, width_px)], few_steps)

    def generate(self, requests: Sequence[GenerationRequest]) -> np.ndarray:
        """As Tier.generate; raises also SizeNotPossible, and DrawingFailed where the model gives NaN or infinity."""
        if self._embedded is not None:
            return self._embedded.generate(requests)
        self._loaded_pipeline()
        return self._draw(requests, self.options_of(requests))

    def close(self) -> None:
        if self._embedded is not None:
            self._embedded.close()
        self._pipeline = None
        gc.collect()  # pipelines hold reference cycles
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _loaded_pipeline(self) -> Any:
        if self._pipeline is None:
            raise NotLoaded(f"diffusion model {self.model!r} is not loaded; call load() first")
        return self._pipeline

    def _check_size(self, height_px: int, width_px: int) -> None:
        multiple = self._size_multiple_px
        if height_px < 1 or width_px < 1 or height_px % multiple or width_px % multiple:
            native_height_px, native_width_px = self.native_size_px
            raise SizeNotPossible(
                f"height {height_px} px and width {width_px} px: diffusion model {self.model!r} draws multiples of "
                f"{multiple} px; its own size is {native_height_px} x {native_width_px}"
            )

    def _draw(self, requests: Sequence[GenerationRequest], options: Mapping[str, Any]) -> np.ndarray:
        height_px, width_px = requests[0].height_px, requests[0].width_px
        self._check_size(height_px, width_px)
        arguments = {_PRESET_NAMES.get(name, name): value for name, value in options.items()}
        for name, value in arguments.items():
            if name.startswith("negative_prompt") and isinstance(value, str):
                arguments[name] = [value] * len(requests)  # many pipelines refuse one text beside a list of prompts
        drawn = self._loaded_pipeline()(
            prompt=[request.prompt for request in requests],
            height=height_px,
            width=width_px,
            generator=seeds.generators([request.seed for request in requests]),
            output_type="np",
            **arguments,
        )
        images = np.asarray(drawn.images, dtype=np.float32)  # [B, H, W, 3] in [0, 1]
        if not np.isfinite(images).all():
            raise DrawingFailed(
                f"diffusion model {self.model!r} gave values that are not finite; "
                "in float16 many autoencoders overflow: set dtype to bfloat16 or float32"
            )
        return np.rint(images * 255).astype(np.uint8)


def _check_numbers(preset: str, options: Mapping[str, Any]) -> None:
    steps, guidance = options.get("steps", 1), options.get("guidance", 0.0)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UnknownPreset(f"preset {preset!r}: steps is {steps!r}; it must be a whole number of at least 1")
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance < math.inf:
        raise UnknownPreset(f"preset {preset!r}: guidance is {guidance!r}; it must be a finite number of at least 0")


def _load_pipeline(model: str, revision: str | None, variant: str | None, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    folder = loading.check_source(model, revision) or _fetch(model, revision, variant)
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotLoadable(
            f"model folder {folder} has no readable model_index.json ({error}); give the folder of a whole diffusers "
            "pipeline, as pipeline.save_pretrained() writes it"
        ) from error
    # Parts that were saved as absent (SD 3 without T5) have to be passed as absent.
    absent: dict[str, Any] = {name: None for name, part in index.items() if part == [None, None]}
    if "safety_checker" in index:
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **absent,
        )
    except Exception as error:
        raise ModelNotLoadable(
            f"model {model!r} ({index.get('_class_name')}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return _as_text_to_image(pipeline, model)


def _fetch(model: str, revision: str | None, variant: str | None) -> Path:
    from diffusers import DiffusionPipeline

    try:
        folder = Path(
            DiffusionPipeline.download(
                model,
                revision=revision,
                variant=variant,
                use_safetensors=True,
                trust_remote_code=False,
                safety_checker=None,
            )
        )
    except (OSError, ValueError) as error:  # huggingface_hub's own errors derive from these
        raise loading.not_fetched(model, revision, error) from error
    loading.check_folder(folder)
    return folder


def _as_text_to_image(pipeline: Any, model: str) -> Any:
    """The pipeline itself, or its text-to-image sibling with the same parts. Raises ModelNotLoadable."""
    from diffusers import AutoPipelineForText2Image

    if "image" in inspect.signature(pipeline.__call__).parameters:
        with contextlib.suppress(ValueError):  # no sibling: judged below, by what it can be called with
            pipeline = AutoPipelineForText2Image.from_pipe(pipeline)
    parameters = inspect.signature(pipeline.__call__).parameters
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if not {"prompt", "height", "width", "generator", "output_type"} <= set(parameters) or set(needed) - {"prompt"}:
        raise ModelNotLoadable(
            f"model {model!r} is a {type(pipeline).__name__}, which does not draw from text alone; "
            "give a text-to-image pipeline"
        )
    return pipeline


def _check_names(pipeline: Any, presets: Mapping[str, Mapping[str, Any]]) -> None:
    parameters = inspect.signature(pipeline.__call__).parameters
    allowed = {short for short, name in _PRESET_NAMES.items() if name in parameters} | {
        name
        for name, parameter in parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and not _NOT_FOR_PRESETS.fullmatch(name)
    }
    for preset, options in presets.items():
        unknown = sorted(set(options) - allowed)
        if unknown:
            raise UnknownPreset(
                f"preset {preset!r}: {type(pipeline).__name__} has no option {', '.join(unknown)}; "
                f"it has: {', '.join(sorted(allowed))}"
            )


def _keep_prompts_out_of_logs(pipeline: Any) -> None:
    """Many pipelines log, as a warning, the part of a prompt that their text encoder cuts off."""
    for ancestor in type(pipeline).__mro__:
        if ancestor.__module__.startswith("diffusers.pipelines."):
            logging.getLogger(ancestor.__module__).setLevel(logging.ERROR)


def _size_multiple_px(pipeline: Any) -> int:
    scale = getattr(pipeline, "vae_scale_factor", 8)
    drawer = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
    patch = getattr(getattr(drawer, "config", None), "patch_size", None)
    processor = getattr(getattr(pipeline, "image_processor", None), "config", None)
    return math.lcm(
        8,  # what most pipelines insist on, whatever their autoencoder's factor
        scale * (patch if isinstance(patch, int) else 1),
        getattr(processor, "vae_scale_factor", 1),  # pipelines that pack 2 x 2 latents say it only here
    )


def _native_size_px(pipeline: Any, multiple_px: int) -> tuple[int, int]:
    drawer = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
    sample_size = getattr(getattr(drawer, "config", None), "sample_size", None)
    if sample_size is None:
        sample_size = getattr(pipeline, "default_sample_size", 64)
    height, width = sample_size if isinstance(sample_size, list | tuple) else (sample_size, sample_size)
    scale = getattr(pipeline, "vae_scale_factor", 8)
    return tuple(max(1, round(size * scale / multiple_px)) * multiple_px for size in (height, width))  # type: ignore[return-value]
