"""The released STARFlow code, run from a checkout that is given by path: what ours is measured and tested against.

Nothing of that code is in this tree. Tried with apple/ml-starflow at commit e565a46, which needs einops and tqdm; its
Jacobi sampler asks torch.distributed for agreement, so `load` opens a process group of one.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

DENOISING = Path("utils", "inference.py")


def load(checkout: Path) -> ModuleType:
    """Its module with the model. The checkout's folder is on the import path only meanwhile."""
    if not (checkout / "transformer_flow.py").is_file():
        raise FileNotFoundError(f"{checkout} holds no transformer_flow.py: give a checkout of apple/ml-starflow")
    sys.path.insert(0, str(checkout))
    try:
        module = importlib.import_module("transformer_flow")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"the released code needs {error.name}: pip install {error.name}") from error
    finally:
        sys.path.remove(str(checkout))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return module


def build(module: ModuleType, options: Mapping[str, object], seed: int, projection_std: float = 0.02) -> nn.Module:
    """A model with random weights. Those that start at zero are drawn too, as a flow that does nothing shows nothing.

    Args:
        options: of the released constructor, in its names.
        projection_std: of `proj_out.weight`, which decides how far each block is from the identity.
    """
    torch.manual_seed(seed)
    model: nn.Module = module.Model(**options)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("proj_out.weight"):
                weight.normal_(0.0, projection_std)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def forward(model: nn.Module, x: Tensor, y: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Latents [B, C, H, W] and text [B, L, D] to noise [B, C, H, W] and a log-determinant per block."""
    z, _, _, logdets = model(x, y)
    return z, logdets


@torch.no_grad()
def sample(
    model: nn.Module, noise: Tensor, y: Tensor | None, y_empty: Tensor | None, guidance: float, **settings: object
) -> Tensor:
    """Noise [B, C, H, W] to latents. Sequential, unless `settings` say jacobi=True and its block size and threshold."""
    text = y if y is None or guidance == 0 else torch.cat([y, y_empty])
    return model(noise, text, reverse=True, guidance=guidance, **settings)


def denoise(checkout: Path, model: nn.Module, x: Tensor, y: Tensor | None, noise_std: float) -> Tensor:
    """Its denoising step on latents [B, C, H, W].

    Of the file that holds it only that one function is run: the rest imports metrics and trackers.
    """
    tree = ast.parse((checkout / DENOISING).read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "self_denoise"]
    space: dict[str, object] = {"torch": torch}
    exec(compile(ast.Module(wanted, []), str(DENOISING), "exec"), space)  # noqa: S102  (the caller named the checkout)
    return space["self_denoise"](model, x, y, noise_std=noise_std)  # type: ignore[operator]
