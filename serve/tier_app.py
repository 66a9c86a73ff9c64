"""One tier as a Serve application: a replica holds one model, batches what comes, and answers with files.

The model runs in a thread of its own, one batch at a time, so that health checks and the queue stay alive while it
works. Behaviour changes by `user_config` (presets, batch size and wait); anything else is a new application.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve

from replicas.tier import GenerationRequest, Tier

from .pictures import encode_base64, for_scorer
from .torch_threads import limit_torch_threads

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Work:
    """One image to draw and how to hand it over. `size_px` None: as the model draws it."""

    prompt: str
    seed: int
    preset: str
    size_px: tuple[int, int] | None = None  # height, width
    file_format: str = "png"
    compression: int | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image: the file as base64, and small raw pixels for the scorer."""

    file_base64: bytes
    pixels: np.ndarray  # [H, W, 3] uint8, at most 256 px a side
    native_size_px: tuple[int, int]  # height, width that the model drew
    service_s: float  # wall time of the batch that this image was part of
    replica_id: str
    notice: str | None = None  # what the caller should know of this image, as that the prompt was cut


class TierReplica:
    """A replica of one tier. `arguments` are those of `replicas.loading.build_tier`, `threads` torch's CPU threads.

    Presets come by `reconfigure`, which Serve calls before the first request.
    """

    def __init__(self, arguments: Mapping[str, Any], device: str, threads: int | None) -> None:
        from replicas.loading import build_tier

        limit_torch_threads(threads)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tier")
        started_s = time.monotonic()
        self._tier: Tier = build_tier(**arguments)
        self._tier.load(device)
        self._warm = False
        self._replica_id = serve.get_replica_context().replica_id.unique_id
        logger.info("tier loaded on %s after %.1f s", device, time.monotonic() - started_s)

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take presets and batch settings: the first ones, and new ones without a restart."""
        self._tier.presets = {name: dict(options) for name, options in user_config["presets"].items()}
        self._draw.set_max_batch_size(user_config["max_batch_size"])  # type: ignore[attr-defined]
        self._draw.set_batch_wait_timeout_s(user_config["batch_wait_s"])  # type: ignore[attr-defined]
        if not self._warm:  # with a preset of its own, so after they have come
            self._tier.warm_up()
            self._warm = True

    async def generate(self, work: Work) -> Drawn:
        """Draw one image, in a batch with whatever else is waiting."""
        drawn = await self._draw(work)
        if isinstance(drawn, Exception):
            raise drawn
        return drawn

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)
    async def _draw(self, batch: list[Work]) -> list[Drawn | Exception]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._draw_now, batch)

    def _draw_now(self, batch: list[Work]) -> list[Drawn | Exception]:
        """Images in the order of `batch`; a preset or size that fails does not fail the others of its batch."""
        answers: list[Drawn | Exception | None] = [None] * len(batch)
        alike: dict[tuple[str, tuple[int, int]], list[int]] = {}
        for position, work in enumerate(batch):
            try:
                size_px = self._tier.size_for(*(work.size_px or self._tier.native_size_px))
            except Exception as error:
                logger.exception("no size for %s", work.size_px)
                answers[position] = RuntimeError(f"{type(error).__name__}: {error}")
            else:
                alike.setdefault((work.preset, size_px), []).append(position)
        for (preset, size_px), positions in alike.items():
            drawn = self._draw_alike(preset, size_px, [batch[position] for position in positions])
            for position, answer in zip(positions, drawn, strict=True):
                answers[position] = answer
        return [answer for answer in answers if answer is not None]

    def _draw_alike(self, preset: str, size_px: tuple[int, int], works: list[Work]) -> Sequence[Drawn | Exception]:
        height_px, width_px = size_px
        requests = [GenerationRequest(work.prompt, work.seed, preset, height_px, width_px) for work in works]
        started_s = time.perf_counter()
        try:
            images = self._tier.generate(requests)
            notices = self._tier.notices() or [None] * len(works)
            if len(images) != len(works) or len(notices) != len(works):
                raise ValueError(f"{len(images)} images and {len(notices)} notices for {len(works)} requests")
        except Exception as error:  # every caller of this preset gets it, as its own failed call
            logger.exception("preset %s failed for %d images", preset, len(works))
            return [RuntimeError(f"{type(error).__name__}: {error}") for _ in works]
        service_s = time.perf_counter() - started_s
        drawn = []
        for work, pixels, notice in zip(works, images, notices, strict=True):
            native_px = (pixels.shape[0], pixels.shape[1])
            file_base64 = encode_base64(pixels, work.size_px or native_px, work.file_format, work.compression)
            drawn.append(Drawn(file_base64, for_scorer(pixels), native_px, service_s, self._replica_id, notice))
        return drawn

    def __del__(self) -> None:
        if hasattr(self, "_tier"):
            self._worker.shutdown(wait=True)
            self._tier.close()
