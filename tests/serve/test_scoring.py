from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from serve.scoring import QUEUED, Scoring, ToScore

PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)


def job(name: str, images: int = 1) -> ToScore:
    return ToScore(name, "two cats", (PIXELS,) * images)


def test_the_mean_score_of_a_decision_is_noted() -> None:
    noted: list[tuple[str, float]] = []

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return [0.25, 0.75, 0.5][: len(images)]

    async def play() -> None:
        scoring = Scoring(score, lambda *what: noted.append(what))
        scoring.add(job("a", 3))
        scoring.add(job("b", 1))
        await scoring.drain()

    asyncio.run(play())
    assert sorted(noted) == [("a", 0.5), ("b", 0.25)]


def test_the_oldest_are_dropped_and_counted_when_too_many_wait() -> None:
    noted: list[str] = []

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return [0.5]

    async def play() -> Scoring:
        scoring = Scoring(score, lambda name, _: noted.append(name))
        for number in range(QUEUED + 3):
            scoring.add(job(str(number)))
        await scoring.drain()
        return scoring

    scoring = asyncio.run(play())
    assert scoring.dropped == 3
    assert [int(name) for name in noted] == list(range(3, QUEUED + 3))


@pytest.mark.parametrize("error", [RuntimeError("scorer is away"), TimeoutError()])
def test_a_scorer_that_fails_is_counted_and_the_next_decision_is_scored(error: Exception) -> None:
    noted: list[str] = []

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        if len(images) == 2:
            raise error
        return [0.5]

    async def play() -> Scoring:
        scoring = Scoring(score, lambda name, _: noted.append(name))
        scoring.add(job("bad", 2))
        scoring.add(job("good", 1))
        await scoring.drain()
        return scoring

    assert asyncio.run(play()).failed == 1
    assert noted == ["good"]
