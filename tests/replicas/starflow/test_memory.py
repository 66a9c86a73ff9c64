"""Predictions are held against what tensors are alive at once, counted while the flow runs."""

import weakref
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from replicas.errors import BatchTooLarge
from replicas.starflow.config import FlowConfig
from replicas.starflow.denoise import denoise
from replicas.starflow.latents import ImageAutoencoder
from replicas.starflow.likelihood import log_likelihood
from replicas.starflow.memory import GIB, Footprint, MemoryLimit, free_bytes
from replicas.starflow.model import StarFlow
from replicas.starflow.parts_memory import TextFootprint
from replicas.starflow.release import read_release
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import PRESETS, SamplerSettings

RELEASED_3B = """arguments:
- img_size: 256
- txt_size: 128
- channel_size: 4
- patch_size: 1
- channels: 3072
- blocks: 6
- layers_per_block: 2 2 2 2 2 24
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
- soft_clip: 4
"""


class Peak(TorchDispatchMode):
    """Bytes of all storages that operations made and that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now_bytes = self.peak_bytes = 0

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _gone(self, key: int) -> None:
        self.now_bytes -= self.alive.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if not isinstance(tensor, torch.Tensor):
                continue
            key = _key(tensor)
            if key not in self.alive and key not in given:
                opaque = tensor.is_mkldnn
                size = tensor.numel() * tensor.element_size() if opaque else tensor.untyped_storage().nbytes()
                self.alive[key] = size
                self.now_bytes += size
                self.peak_bytes = max(self.peak_bytes, self.now_bytes)
                weakref.finalize(tensor if opaque else tensor.untyped_storage(), self._gone, key)
        return out


def _key(tensor: torch.Tensor) -> int:
    """Same for tensors that share memory. Weights packed by oneDNN have no storage to ask."""
    return id(tensor) if tensor.is_mkldnn else tensor.untyped_storage()._cdata


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wide": {"channels": 256, "norm_type": "rms_norm"},
    "swiglu": {"use_swiglu": True, "use_post_norm": True},
    "grouped": {"use_qk_norm": True, "num_kv_heads": 1},
    "text everywhere": {"cond_top_only": False},
}


def flow_of(**changes: Any) -> StarFlow:
    options: dict[str, Any] = {
        "in_channels": 4, "img_size": 16, "patch_size": 1, "channels": 128, "num_blocks": 3,
        "layers_per_block": (2, 2, 6), "head_dim": 64, "rope": True, "sos": True, "txt_size": 16, "txt_dim": 64,
        "cond_top_only": True, "use_softplus": True, "use_final_norm": True, "soft_clip": 4.0,
    }  # fmt: skip
    torch.manual_seed(0)
    return StarFlow(FlowConfig.from_constructor({**options, **changes})).eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_denoising_takes_what_was_predicted(variant: str, dtype: torch.dtype) -> None:
    flow = flow_of(**VARIANTS[variant]).to(dtype)
    with Peak() as peak:
        denoise(flow, torch.randn(1, 4, 16, 16), torch.randn(1, 16, 64), 0.3)
    assert 0.95 <= Footprint(flow.config, dtype).denoising_bytes(16, 16) / peak.peak_bytes <= 1.25


SETTINGS = {
    "sequential": (2, 2.0, SamplerSettings()),
    "all at once": (3, 2.0, SamplerSettings(method="jacobi", tolerance=0.5)),
    "draft": (4, 2.0, PRESETS["draft"]),
    "in parts": (2, 0.0, SamplerSettings(method="jacobi", tolerance=0.5, deep_part_tokens=64, shallow_part_tokens=32)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_sampling_takes_what_was_predicted(name: str, dtype: torch.dtype) -> None:
    rows, guidance, settings = SETTINGS[name]
    sequential = settings.method == "sequential"  # takes a step for each token, and each is counted
    side = 8 if sequential else 16
    for variant in ("plain",) if sequential else ("plain", "grouped", "text everywhere"):
        flow = flow_of(**VARIANTS[variant], img_size=side, layers_per_block=(1, 1, 3)).to(dtype)
        noise, text = torch.randn(rows, 4, side, side), torch.randn(rows, 16, 64)
        with Peak() as peak:
            sample(flow, noise, text, text[:1], guidance=guidance, settings=settings)
        footprint = Footprint(flow.config, dtype)
        predicted = footprint.sampling_bytes(rows, side, side, guidance=guidance, settings=settings)
        assert 1.0 <= predicted / peak.peak_bytes <= 1.4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_likelihood_takes_what_was_predicted(variant: str, dtype: torch.dtype) -> None:
    flow = flow_of(**VARIANTS[variant]).to(dtype)
    with torch.inference_mode(), Peak() as peak:
        log_likelihood(flow, torch.randn(1, 4, 16, 16), torch.randn(1, 16, 64))
    assert 1.0 <= Footprint(flow.config, dtype).likelihood_bytes(16, 16) / peak.peak_bytes <= 1.25


@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize("widths", [(8, 8, 8, 8), (16, 32, 64, 64)], ids=str)
def test_autoencoder_takes_what_was_predicted(tmp_path: Path, widths: tuple[int, ...], rows: int) -> None:
    from diffusers import AutoencoderKL

    AutoencoderKL(
        block_out_channels=widths, down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths), latent_channels=4, norm_num_groups=4, layers_per_block=2,
    ).save_pretrained(tmp_path)  # fmt: skip
    autoencoder = ImageAutoencoder(str(tmp_path))
    autoencoder.load()
    footprint = autoencoder.footprint
    with Peak() as peak:
        latents = autoencoder.encode(np.zeros((rows, 64, 96, 3), np.uint8))
    assert 1.0 <= footprint.encoding_bytes(rows, 64, 96) / peak.peak_bytes <= 1.5
    with Peak() as peak:
        autoencoder.decode(latents)
    assert 1.0 <= footprint.decoding_bytes(rows, 64, 96) / peak.peak_bytes <= 1.5


@pytest.mark.parametrize(
    ("feed_forward", "changes"), [("relu", {}), ("gated-gelu", {}), ("gated-gelu", {"d_ff": 64, "num_heads": 8})]
)
def test_text_encoder_takes_what_was_predicted(feed_forward: str, changes: dict[str, int]) -> None:
    from transformers import T5Config, T5EncoderModel

    options = {"d_model": 128, "d_kv": 64, "d_ff": 512, "num_heads": 4, **changes}
    model = T5EncoderModel(T5Config(vocab_size=32, num_layers=2, feed_forward_proj=feed_forward, **options)).eval()
    ids = torch.ones(1, 64, dtype=torch.long)
    with torch.inference_mode(), Peak() as peak:
        model(input_ids=ids, attention_mask=ids)
    footprint = TextFootprint(64, options["d_model"], options["num_heads"], options["d_kv"], options["d_ff"], 4)
    assert 1.0 <= footprint.reading_bytes(1) / peak.peak_bytes <= 1.65  # relu has fewer values in between than counted


def test_drawing_takes_the_larger_of_sampling_and_denoising() -> None:
    footprint, settings = Footprint(flow_of().config, torch.float32), SamplerSettings()

    def drawing(rows: int, denoise: bool) -> int:
        return footprint.drawing_bytes(rows, 16, 16, guidance=2.0, settings=settings, denoise=denoise)

    assert drawing(1, True) == footprint.denoising_bytes(16, 16) > drawing(1, False)
    assert drawing(64, True) == drawing(64, False) > drawing(1, True)


def test_released_3b_configuration_has_the_parameters_that_its_layout_gives(tmp_path: Path) -> None:
    (tmp_path / "3b.yaml").write_text(RELEASED_3B)
    config = read_release(tmp_path / "3b.yaml").config
    width, token, text = 3072, 4, 2048
    norms = 2 * 2 * width
    attention = width * 3 * width + 3 * width + width * width + width
    feed_forward = width * 4 * width + 4 * width + 4 * width * width + width
    block = token * width + width + width * 2 * token + 2 * token + token + width  # in, out, start token, last norm
    expected = 34 * (norms + attention + feed_forward) + 6 * block + text * width + width
    footprint = Footprint(config, torch.bfloat16, "cuda")
    assert footprint.parameters == expected
    assert 3.8e9 < expected < 3.9e9
    assert footprint.weights_bytes == 2 * expected
    eight = footprint.sampling_bytes(8, 32, 32, guidance=2.5, settings=SamplerSettings())
    cache = 16 * 24 * (1024 + 128) * 2 * 3072 * 2
    assert cache < eight < 1.2 * cache


def test_batch_that_does_not_fit_is_refused_with_the_need() -> None:
    limit = MemoryLimit(torch.device("cpu"), limit_gib=2.0, held_bytes=GIB)
    assert limit.free_bytes == GIB
    limit.check(int(0.9 * GIB), "a small batch")
    with pytest.raises(BatchTooLarge, match=r"a large batch would need 1\.100 GiB beside the weights and 1\.000 GiB"):
        limit.check(GIB, "a large batch")
    assert MemoryLimit(torch.device("cpu"), limit_gib=0.5, held_bytes=GIB).free_bytes == 0


def test_free_memory_is_that_of_this_machine() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free > 0
    assert MemoryLimit(torch.device("cpu")).free_bytes == pytest.approx(free, rel=0.5)
