from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from serve.scoring import BATCH, FAILING_IN_A_ROW, QUEUED, Scoring, ToScore

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


def test_too_many_are_dropped_at_random_and_counted() -> None:
    noted: list[str] = []

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        return [0.5]

    async def play() -> Scoring:
        scoring = Scoring(score, lambda name, _: noted.append(name), Random(3))
        for number in range(4 * QUEUED):
            scoring.add(job(str(number)))
        await scoring.drain()
        return scoring

    assert asyncio.run(play()).dropped == 3 * QUEUED
    assert len(noted) == QUEUED
    early = sum(int(name) < 2 * QUEUED for name in noted)
    assert 0 < early < QUEUED, "neither the oldest nor the newest are always the ones dropped"


def test_so_many_calls_run_side_by_side_that_the_scorers_batch_fills() -> None:
    running = most = 0

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return [0.5]

    async def play() -> None:
        scoring = Scoring(score, lambda *_: None)
        for number in range(QUEUED):
            scoring.add(job(str(number)))
        await scoring.drain()

    asyncio.run(play())
    assert most == BATCH


def test_failing_is_a_scorer_that_failed_several_times_in_a_row() -> None:
    away = True

    async def score(images: Sequence[np.ndarray], prompt: str) -> Sequence[float]:
        if away:
            raise RuntimeError
        return [0.5]

    async def play() -> None:
        nonlocal away
        scoring = Scoring(score, lambda *_: None)
        for count in range(1, FAILING_IN_A_ROW + 1):
            scoring.add(job("bad"))
            await scoring.drain()
            assert scoring.failing == (count == FAILING_IN_A_ROW)
        away = False
        scoring.add(job("good"))
        await scoring.drain()
        assert not scoring.failing

    asyncio.run(play())


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
