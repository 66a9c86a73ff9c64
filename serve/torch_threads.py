"""How many CPU threads torch may use in this process. Imports torch only where there is something to limit."""

from __future__ import annotations


def limit_torch_threads(threads: int | None) -> None:
    """None: as many as torch likes."""
    if threads is None:
        return
    import torch

    torch.set_num_threads(threads)
