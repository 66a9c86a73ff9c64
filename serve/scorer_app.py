"""The scorer as a Serve application: rates images against their prompts, in batches, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve

from replicas.scorer import Scorer

from .scoring import BATCH
from .torch_threads import limit_torch_threads

_BATCH_WAIT_S = 0.01


@dataclass(frozen=True, slots=True)
class _ToScore:
    images: tuple[np.ndarray, ...]  # [H, W, 3] uint8 each
    prompt: str


class ScorerReplica:
    """A replica of the scorer. `arguments` are those of `replicas.loading.build_scorer`."""

    def __init__(self, arguments: Mapping[str, Any], device: str, threads: int | None) -> None:
        from replicas.loading import build_scorer

        limit_torch_threads(threads)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scorer")
        self._scorer: Scorer = build_scorer(**arguments)
        self._scorer.load(device)

    async def score(self, images: tuple[np.ndarray, ...], prompt: str) -> list[float]:
        """[H, W, 3] uint8 each -> a score in [0, 1] each."""
        return await self._score(_ToScore(images, prompt))

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=_BATCH_WAIT_S)
    async def _score(self, batch: list[_ToScore]) -> list[list[float]]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._score_now, batch)

    def _score_now(self, batch: list[_ToScore]) -> list[list[float]]:
        answers: list[list[float]] = [[0.0] * len(job.images) for job in batch]
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for i, job in enumerate(batch):
            for j, image in enumerate(job.images):
                by_shape.setdefault(image.shape, []).append((i, j))
        for places in by_shape.values():
            images = np.stack([batch[i].images[j] for i, j in places])  # [B, H, W, 3]
            scores = self._scorer.score(images, [batch[i].prompt for i, _ in places])
            for (i, j), score in zip(places, scores, strict=True):
                answers[i][j] = float(score)
        return answers

    def __del__(self) -> None:
        if hasattr(self, "_scorer"):
            self._worker.shutdown(wait=True)
            self._scorer.close()
