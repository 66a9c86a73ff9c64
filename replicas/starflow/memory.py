"""How much memory a flow takes: its weights, known before they are read, and the peak of drawing a batch.

    footprint = Footprint(config, torch.bfloat16, "cuda")
    footprint.weights_bytes, footprint.drawing_bytes(8, 32, 32, guidance=2.5, settings=PRESETS["draft"], denoise=True)

The predictions count tensors that must exist at the same time and leave out what allocators round up; `MemoryLimit`
adds a share for that when it compares them with what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from replicas.errors import BatchTooLarge
from replicas.kernels.attention_reference import ROWS

from .config import FlowConfig
from .linear import halving_is_faster
from .model import StarFlow
from .sampling.settings import SamplerSettings

GIB = 2**30
_ROUNDED_UP = 1.1  # what allocators hold beside what was asked for
_SCORE_COPIES = 3  # of a part's attention scores in the reference: scores, mask, softmax
_LATENT_COPIES = 8  # noise, what is known, what is new, mean, scale, in the picture's order and the block's


class _Block(NamedTuple):
    """What a block's memory depends on."""

    deep: bool
    layers: int
    width: int
    heads: int
    kv_heads: int
    text_tokens: int


@dataclass(frozen=True)
class Footprint:
    """Of a flow with weights in `dtype` on "cpu" or "cuda". Sizes are in latent pixels, everything else in bytes."""

    config: FlowConfig
    dtype: torch.dtype
    device: str = "cpu"

    @cached_property
    def parameters(self) -> int:
        """How many numbers the flow is made of; it is built on the meta device, which takes no memory."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in StarFlow(self.config).parameters())

    @property
    def weights_bytes(self) -> int:
        """Of the weights."""
        return self.parameters * self.dtype.itemsize

    def drawing_bytes(
        self, rows: int, height: int, width: int, *, guidance: float, settings: SamplerSettings, denoise: bool
    ) -> int:
        """Peak of drawing `rows` pictures, beside the weights."""
        sampling = self.sampling_bytes(rows, height, width, guidance=guidance, settings=settings)
        return max(sampling, self.denoising_bytes(height, width) if denoise else 0)

    def sampling_bytes(self, rows: int, height: int, width: int, *, guidance: float, settings: SamplerSettings) -> int:
        """Peak of `sample`: of the most expensive block its cache, what one part computes, copies of its weights."""
        tokens = height * width // self.config.patch_size**2
        largest = 0
        for block in self._blocks():
            guided = guidance > 0 and block.text_tokens > 0 and (block.deep or not settings.guide_deep_only)
            seen = 2 * rows if guided else rows
            sequential = settings.method == "sequential"
            part = 1 if sequential else settings.part_tokens(block.deep, tokens)
            capacity = block.text_tokens + tokens
            cache = block.layers * 2 * block.kv_heads * self.config.head_dim * self._item  # of a token
            reading = seen * self._stepping(block, block.text_tokens, capacity)
            reading += (
                4 * seen * block.text_tokens * block.width * self._item
            )  # text states as they come in, and turned
            if guided and rows > 1:  # the empty text is read once, into a cache that is then copied
                reading += (rows + 1) * block.text_tokens * cache
            stepping = seen * self._stepping(block, part, capacity)
            largest = max(largest, seen * capacity * cache + max(reading, stepping) + self._copies(block, settings))
        return largest + _LATENT_COPIES * rows * tokens * self.config.token_channels * self._wide

    def likelihood_bytes(self, height: int, width: int) -> int:
        """Peak of `log_likelihood` without gradients, of one item at a time."""
        tokens = height * width // self.config.patch_size**2
        largest = 0
        for block in self._blocks():
            length = tokens + block.text_tokens
            kept = 2 * length * block.width * self._item  # what came into the block and into the layer
            largest = max(largest, self._stepping(block, length, length) + kept)
        return largest + _LATENT_COPIES * tokens * self.config.token_channels * self._wide

    def denoising_bytes(self, height: int, width: int) -> int:
        """Peak of `denoise`, which takes one item at a time: what all layers keep for the backward pass."""
        tokens = height * width // self.config.patch_size**2
        total, working = 0, 0
        for block in self._blocks():
            length = tokens + block.text_tokens
            saved = length * self._saved(block)
            if self._reference:
                # Softmax of each part's rows against the keys up to its end: half of all keys and half a part more.
                saved += block.heads * length * (length + ROWS) // 2 * self._wide
            total += block.layers * saved
            working = max(working, length * self._working(block))
        return total + 2 * working  # going back holds values and their gradients

    @property
    def _item(self) -> int:
        return self.dtype.itemsize

    @property
    def _wide(self) -> int:
        """Bytes of a number where half types are too coarse."""
        return max(4, self._item)

    @property
    def _reference(self) -> bool:
        """Whether attention is the reference, which writes its scores to memory; the kernels of a GPU do not."""
        return self.device == "cpu"

    def _blocks(self) -> Iterator[_Block]:
        for index, layers in enumerate(self.config.layers_per_block):
            deep = index == self.config.num_blocks - 1
            width = self.config.deep_channels if deep else self.config.channels
            text_tokens = self.config.txt_size if self.config.reads_text(index) else 0
            if layers:
                yield _Block(deep, layers, width, *self.config.heads_of(width), text_tokens)

    def _stepping(self, block: _Block, part: int, capacity: int) -> int:
        """Of a row, while `part` of its tokens go through a layer."""
        inner, kv_inner = self._inner(block)
        attention = part * (2 * block.width + 3 * inner + 2 * kv_inner) * self._item
        if self._reference:
            attention += _SCORE_COPIES * block.heads * min(part, ROWS) * capacity * self._wide
            if self._item < self._wide:  # the reference computes in float32: queries and all keys and values
                attention += self._wide * (part * inner + 2 * capacity * kv_inner)
        return max(attention, part * self._working(block))

    def _inner(self, block: _Block) -> tuple[int, int]:
        return block.heads * self.config.head_dim, block.kv_heads * self.config.head_dim

    def _working(self, block: _Block) -> int:
        """Of a token within a layer: what came in twice, and either queries, keys, values and what attention makes of
        them, or the inside of the MLP."""
        inner, kv_inner = self._inner(block)
        attention = (3 * inner + 2 * kv_inner) * self._item
        feed_forward = (block.width + (3 if self.config.use_swiglu else 2) * 4 * block.width) * self._item
        return 2 * block.width * self._item + max(attention, feed_forward)

    def _saved(self, block: _Block) -> int:
        """Of a token in a layer, for its backward pass. RMSNorm and the reference attention compute in float32."""
        inner, kv_inner = self._inner(block)
        norms = 2 * block.width * (self._item if self.config.norm_type == "layer_norm" else self._wide)
        if self.config.use_post_norm:
            norms += 2 * block.width * self._wide
        if self.config.use_qk_norm:
            norms += (inner + kv_inner) * self._wide
        if self._reference and self._item < self._wide:
            attention = (inner + 2 * kv_inner) * self._wide
        else:  # queries and keys turned, values as a view that holds the three as they came; the kernel: its result too
            attention = (2 * inner + 3 * kv_inner + (0 if self._reference else inner)) * self._item
        return norms + attention + (12 if self.config.use_swiglu else 4) * block.width * self._item

    def _copies(self, block: _Block, settings: SamplerSettings) -> int:
        """Of the block's matrices that a sampler makes: packed for few rows, or in bfloat16 for rough iterations."""
        inner, kv_inner = self._inner(block)
        feed_forward = (3 if self.config.use_swiglu else 2) * 4 * block.width**2
        matrices = block.layers * (block.width * (2 * inner + 2 * kv_inner) + feed_forward)
        if settings.method == "sequential":
            return matrices * self._item if self.device == "cpu" else 0
        rough = settings.rough_first and self.dtype == torch.float32 and halving_is_faster(torch.device(self.device))
        return matrices * 2 if rough else 0


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


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or of the machine, which has no class of its own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        said in str(error) for said in ("can't allocate memory", "not enough memory")
    )


def free_bytes(device: torch.device) -> int:
    """Bytes that are free on `device`, those that torch holds for later use among them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    container = Path("/sys/fs/cgroup")
    limit, used, parts = (container / name for name in ("memory.max", "memory.current", "memory.stat"))
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        # What a container holds of files it gives up when it needs the room.
        held = int(used.read_text()) - _field(parts, "inactive_file")
        free = min(free, max(0, int(limit.read_text()) - held))
    return free


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise OSError(f"{path} has no line {name}; Linux 3.14 or later is needed")
