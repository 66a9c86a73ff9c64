from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from serve import prompt_vectors
from serve.prompt_vectors import PromptVectors


class Counting:
    """Encodes a prompt as its length, and says which ones it was asked for."""

    def __init__(self, *, gate: threading.Event | None = None) -> None:
        self.asked: list[str] = []
        self.gate = gate

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        self.asked += prompts
        if self.gate is not None:
            self.gate.wait(10)
        if "bad" in prompts:
            raise RuntimeError("no vector of this")
        return np.array([[len(prompt)] * 3 for prompt in prompts], dtype=np.float32)


def test_a_prompt_is_encoded_once() -> None:
    async def story() -> None:
        encoder = Counting()
        vectors = PromptVectors(encoder)
        first, again = await vectors.of("a cat"), await vectors.of("a cat")
        assert first is not None
        assert again is first
        assert first.tolist() == [5.0] * 3
        assert encoder.asked == ["a cat"]

    asyncio.run(story())


def test_the_event_loop_goes_on_and_the_same_prompt_is_waited_for_together() -> None:
    async def story() -> None:
        gate = threading.Event()
        encoder = Counting(gate=gate)
        vectors = PromptVectors(encoder)
        waiting = [asyncio.ensure_future(vectors.of("a cat")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)
        waiting[0].cancel()  # whoever came first hangs up
        gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1] is results[2]
        assert results[1] is not None
        assert encoder.asked == ["a cat"]

    asyncio.run(story())


def test_a_prompt_that_cannot_be_encoded_has_no_vector_and_is_tried_again() -> None:
    async def story() -> None:
        encoder = Counting()
        vectors = PromptVectors(encoder)
        assert await vectors.of("bad") is None
        assert await vectors.of("bad") is None
        assert encoder.asked == ["bad", "bad"]
        assert vectors.failed == 2
        assert await vectors.of("good") is not None

    asyncio.run(story())


def test_only_the_last_prompts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_vectors, "REMEMBERED", 2)

    async def story() -> None:
        encoder = Counting()
        vectors = PromptVectors(encoder)
        for prompt in ("a", "b", "a", "c", "a", "b"):
            await vectors.of(prompt)
        assert encoder.asked == ["a", "b", "c", "b"]

    asyncio.run(story())
