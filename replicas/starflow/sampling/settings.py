"""How to go from noise to latents: which method inverts the blocks, how exactly, in parts of how many tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

METHODS = ("sequential", "jacobi")


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """Settings of `sample`. Raises ValueError where one is out of range.

    Args:
        method: "sequential" reads token after token, exactly; "jacobi" takes all tokens of a part at once and iterates
            until nothing changes any more (Zhai et al. 2024, arXiv 2412.06329; in parts: arXiv 2505.12849).
        tolerance: a part is done when its relative error, as its last changes tell, is at most this, item by item of
            the batch; 0 iterates until nothing changes, or as often as the part has tokens, which is exact.
            It holds for each part of each block, not for the result: later parts and blocks add theirs and may amplify
            what came before. Random flows of three blocks kept to it near the identity (`proj_out` of standard
            deviation 0.03) and missed it by up to 6 times far from it (0.3). Weights in bfloat16 end at their rounding,
            (1 + guidance) · 8e-3 and amplified alike: besides the tolerance the result was within about twice the
            distance from their sequential result that this has from float32's.
        rough_first: let Jacobi's first iterations be in bfloat16, where the device is faster at it.
        colors: after a first iteration over all tokens, take every `colors`-th token, then their neighbours behind, and
            so on, each with the newest values of the others; 1: all at once, which is Jacobi's iteration.
        deep_part_tokens: tokens that the deep block iterates at a time; None: all.
        shallow_part_tokens: the same for the other blocks.
        attention_temperature: divides the attention scores; 1 is what the flow was trained with.
        guide_deep_only: leave the shallow blocks unguided even where they read the text.
    """

    method: Literal["sequential", "jacobi"] = "sequential"
    tolerance: float = 1e-6
    rough_first: bool = True
    colors: int = 1
    deep_part_tokens: int | None = None
    shallow_part_tokens: int | None = None
    attention_temperature: float = 1.0
    guide_deep_only: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; allowed: {', '.join(METHODS)}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance is {self.tolerance!r}; allowed: a number of at least 0")
        for name in ("rough_first", "guide_deep_only"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: True, False")
        for name in ("colors", "deep_part_tokens", "shallow_part_tokens"):
            value, either = getattr(self, name), "" if name == "colors" else "None or "
            if value is None and either:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; allowed: {either}a whole number of at least 1")
        if not (math.isfinite(self.attention_temperature) and self.attention_temperature > 0):
            raise ValueError(f"attention_temperature is {self.attention_temperature!r}; allowed: a number above 0")

    def part_tokens(self, deep: bool, tokens: int) -> int:
        """Tokens of a part, of a block that reads `tokens`."""
        return min(tokens, (self.deep_part_tokens if deep else self.shallow_part_tokens) or tokens)


PRESETS: Mapping[str, SamplerSettings] = {
    "draft": SamplerSettings(method="jacobi", tolerance=3e-2, colors=4),
    "standard": SamplerSettings(method="jacobi", tolerance=1e-3, colors=2),
    # Equal to the sequential result up to rounding. The deep block goes token by token: where weights are trained, its
    # iterations are many, while those of the shallow blocks are few.
    "exact": SamplerSettings(method="jacobi", tolerance=1e-6, colors=4, deep_part_tokens=1),
}
