"""Randomness per image, so that an image of a batch is drawn as it would be alone. Who draws noise, draws it from here.

All generators live on the CPU: then a seed gives the same noise on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_ODD_MULTIPLIER = 0x9E3779B1  # 2**32 / golden ratio: neighbouring high halves land far apart
_LOW_HALF = 0xFFFFFFFF


def generator(seed: int) -> torch.Generator:
    """A CPU generator for one image. Below 2**32 it is `torch.Generator().manual_seed(seed)`.

    torch's CPU generator keeps only the low 32 bits of a seed, so seeds 2**32 apart would draw the same image:
    the high half is mixed into the low one.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed} is outside 0 <= seed < 2**63")
    low, high = seed & _LOW_HALF, seed >> 32
    return torch.Generator("cpu").manual_seed(low ^ (high * _ODD_MULTIPLIER & _LOW_HALF))


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator per image, in the order of `seeds`."""
    return [generator(seed) for seed in seeds]


def normal(
    sources: Sequence[torch.Generator], shape: Sequence[int], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Standard normal noise [B, *shape]: row i comes from `sources[i]` alone, drawn in float32 whatever `dtype` is."""
    rows = [torch.randn(tuple(shape), generator=source) for source in sources]
    return torch.stack(rows).to(device=device, dtype=dtype)  # [B, *shape]


def uniform(
    sources: Sequence[torch.Generator], shape: Sequence[int], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Uniform noise in [0, 1), [B, *shape]: row i comes from `sources[i]` alone."""
    rows = [torch.rand(tuple(shape), generator=source) for source in sources]
    return torch.stack(rows).to(device=device, dtype=dtype)  # [B, *shape]
