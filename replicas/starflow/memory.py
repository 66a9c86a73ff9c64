"""How much memory a flow takes: its weights, known before they are read, and the peak of drawing a batch.

The predictions count tensors that must exist at the same time and leave out what allocators round up; `MemoryLimit`
adds a share for that when it compares them with what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from replicas.errors import BatchTooLarge
from replicas.kernels.attention_reference import ROWS

from .block import FlowBlock
from .config import FlowConfig
from .model import StarFlow
from .sampling.settings import SamplerSettings

GIB = 2**30
_ROUNDED_UP = 1.1  # what allocators hold beside what was asked for
_SCORE_COPIES = 3  # of a part's attention scores in the reference: scores, mask, softmax


def parameter_count(config: FlowConfig) -> int:
    """Numbers in a flow of this configuration, built on the meta device: takes no memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in StarFlow(config).parameters())


def weights_bytes(config: FlowConfig, dtype: torch.dtype) -> int:
    """Bytes of the weights in `dtype`."""
    return parameter_count(config) * dtype.itemsize


def drawing_bytes(
    flow: StarFlow,
    rows: int,
    height: int,
    width: int,
    guidance: float,
    settings: SamplerSettings,
    denoise: bool,
) -> int:
    """Peak of drawing `rows` pictures of height × width latent pixels, beside the weights."""
    sampling = sampling_bytes(flow, rows, height, width, guidance, settings)
    return max(sampling, denoising_bytes(flow, height, width) if denoise else 0)


def sampling_bytes(
    flow: StarFlow, rows: int, height: int, width: int, guidance: float, settings: SamplerSettings
) -> int:
    """Peak of `sample`: the largest block's cache, with what one part of it computes, and the latents themselves."""
    config = flow.config
    tokens = height * width // config.patch_size**2
    largest = 0
    for index, block in enumerate(flow.blocks):
        if not isinstance(block, FlowBlock):
            continue
        deep = index == config.num_blocks - 1
        text_tokens = config.txt_size if block.conditioned else 0
        guided = guidance > 0 and block.conditioned and (deep or not settings.guide_deep_only)
        block_rows = 2 * rows if guided else rows
        part = 1 if settings.method == "sequential" else settings.part_tokens(deep, tokens)
        capacity = text_tokens + tokens
        item = block.dtype.itemsize
        cache = len(block.attn_blocks) * capacity * 2 * block.kv_heads * block.head_dim * item
        part = max(part, text_tokens)
        working = part * _working_bytes(config, block)
        if _uses_reference(flow):
            working += _SCORE_COPIES * block.heads * min(part, ROWS) * capacity * max(4, item)
            if item < 4:  # the reference computes in float32
                working += 4 * (part * block.heads + 2 * capacity * block.kv_heads) * block.head_dim
        largest = max(largest, block_rows * (cache + working))
    latents = 6 * rows * tokens * config.token_channels * max(4, next(flow.parameters()).dtype.itemsize)
    return largest + latents


def denoising_bytes(flow: StarFlow, height: int, width: int) -> int:
    """Peak of `denoise`, which takes one item at a time: what all layers keep for the backward pass."""
    config = flow.config
    tokens = height * width // config.patch_size**2
    total, largest = 0, 0
    for block in flow.blocks:
        if not isinstance(block, FlowBlock):
            continue
        length = tokens + (config.txt_size if block.conditioned else 0)
        reference = _uses_reference(flow)
        saved = length * _saved_bytes(config, block, reference)
        if reference:
            # Softmax of each part's rows against the keys up to its end: half of all keys and half a part more.
            saved += block.heads * length * (length + ROWS) // 2 * max(4, block.dtype.itemsize)
        total += len(block.attn_blocks) * saved
        largest = max(largest, length * _working_bytes(config, block))
    return total + 2 * largest  # going back holds values and their gradients


def _working_bytes(config: FlowConfig, block: FlowBlock) -> int:
    """Of a token within a layer: what came in, its norm; queries, keys, values plain and turned; inside of the MLP."""
    item = block.dtype.itemsize
    inner, kv_inner = block.heads * block.head_dim, block.kv_heads * block.head_dim
    attention = (3 * inner + 4 * kv_inner) * max(4, item)
    feed_forward = (3 if config.use_swiglu else 2) * 4 * block.width * item
    return 2 * block.width * item + max(attention, feed_forward)


def _saved_bytes(config: FlowConfig, block: FlowBlock, reference: bool) -> int:
    """Of a token in a layer, for its backward pass. RMSNorm and the reference attention compute in float32."""
    item = block.dtype.itemsize
    wide = max(4, item)
    inner, kv_inner = block.heads * block.head_dim, block.kv_heads * block.head_dim
    norms = 2 * block.width * (item if config.norm_type == "layer_norm" else wide)
    if config.use_post_norm:
        norms += 2 * block.width * wide
    if config.use_qk_norm:
        norms += (inner + kv_inner) * wide
    if reference and item < wide:
        attention = (inner + 2 * kv_inner) * wide
    else:  # queries and keys turned, and values as a view that holds the three as they came; the kernel: its result too
        attention = (2 * inner + 3 * kv_inner + (0 if reference else inner)) * item
    return norms + attention + (12 if config.use_swiglu else 4) * block.width * item


def _uses_reference(flow: StarFlow) -> bool:
    """Whether attention is the reference, which writes its scores to memory; the kernels of a GPU do not."""
    return next(flow.parameters()).device.type == "cpu"


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What a replica may use. `limit_gib` None: whatever the device has free when a batch comes."""

    device: torch.device
    limit_gib: float | None = None
    held_bytes: int = 0  # weights of all parts, which count towards `limit_gib`

    @property
    def free_bytes(self) -> int:
        """What a batch may take."""
        if self.limit_gib is not None:
            return max(0, int(self.limit_gib * GIB) - self.held_bytes)
        return free_bytes(self.device)

    def check(self, need_bytes: int, what: str) -> None:
        """Refuse `what`, which was predicted to need so much. Raises BatchTooLarge."""
        free = self.free_bytes
        if need_bytes * _ROUNDED_UP > free:
            raise BatchTooLarge(
                f"{what} would need {need_bytes * _ROUNDED_UP / GIB:.3f} GiB beside the weights and {free / GIB:.3f} "
                "GiB are free; draw fewer at once or smaller ones, or raise memory_gib where it is set too low"
            )


def free_bytes(device: torch.device) -> int:
    """Bytes that are free on `device`, those that torch holds for later use among them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = _available_in_machine()
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file():  # a container's own limit
        allowed = limit.read_text().strip()
        if allowed != "max":
            free = min(free, max(0, int(allowed) - int(used.read_text()) + _reclaimable()))
    return free


def _reclaimable() -> int:
    """Bytes of files that a container holds in memory and gives up when it needs the room."""
    for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _available_in_machine() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable; Linux 3.14 or later is needed")
