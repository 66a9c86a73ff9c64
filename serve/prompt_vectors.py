"""Sentence vectors of prompts for the gateway: encoded in a thread of their own, the last ones remembered.

Off unless the catalogue has an `encoder`. A vector costs 6 to 80 ms of a CPU core, so the event loop must not compute
it, and one prompt asked for twice is encoded once. Prompts are remembered by their hash, in memory only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .catalogue import EncoderEntry

logger = logging.getLogger("ray.serve")

REMEMBERED = 1024
Vector = NDArray[np.float32]  # [D]


class Encoder(Protocol):
    """`replicas.sentence_encoder.SentenceEncoder`, loaded."""

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]: ...


def load_vectors(entry: EncoderEntry | None) -> PromptVectors | None:
    """Load the encoder that the catalogue names: seconds, and some 300 MB. Raises ReplicaError."""
    if entry is None:
        return None
    from replicas.sentence_encoder import SentenceEncoder  # torch, which a gateway without an encoder does without

    encoder = SentenceEncoder(entry.model, revision=entry.revision, dtype=entry.dtype, threads=entry.threads)
    encoder.load()
    return PromptVectors(encoder)


class PromptVectors:
    """Belongs to one event loop."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: OrderedDict[bytes, Vector] = OrderedDict()
        self._coming: dict[bytes, asyncio.Future[Vector | None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.failed = 0  # prompts without a vector, which were decided on by their words

    async def of(self, prompt: str) -> Vector | None:
        """The prompt's vector; None where it cannot be had, which is logged: words do for most policies."""
        key = blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if key not in self._coming:
            # A task of its own: the first caller may hang up, and others wait for the same prompt.
            self._coming[key] = asyncio.ensure_future(self._encode(key, prompt))
        return await asyncio.shield(self._coming[key])

    async def _encode(self, key: bytes, prompt: str) -> Vector | None:
        try:
            loop = asyncio.get_running_loop()
            vector = (await loop.run_in_executor(self._thread, self._encoder.encode, [prompt]))[0]
        except Exception:  # a request is worth more than its vector
            logger.exception("a prompt could not be encoded")
            self.failed += 1
            return None
        finally:
            del self._coming[key]
        self._known[key] = vector
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return vector
