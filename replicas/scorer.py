"""The contract of a scorer: how well does an image match its prompt? A proxy for quality, not quality itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class Scorer(ABC):
    """Rates images against prompts. Not thread safe."""

    @abstractmethod
    def load(self, device: str) -> None:
        """Read weights and move them to `device`. Raises ModelNotLoadable."""

    @abstractmethod
    def score(self, images: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
        """[B, H, W, 3] uint8 and B prompts -> [B] float32 in [0, 1]."""

    @abstractmethod
    def close(self) -> None:
        """Free the memory."""
