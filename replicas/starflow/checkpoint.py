"""Weights of a flow from a file: safetensors, or a released `.pth` read with `weights_only=True` (no code in it runs).

Every way in which a file can be wrong has an error that names file, cause and cure. Nothing is loaded in part.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from replicas.errors import ModelNotLoadable

from .config import FlowConfig
from .model import StarFlow

# Buffers that released checkpoints carry and that the released code itself no longer reads.
_DEPRECATED = re.compile(r"(blocks\.\d+\.attn_mask|var|feat_rope(_gen)?\.freqs_(cos|sin))")
_WRAPPING = ("module.", "_orig_mod.")  # what data parallelism and torch.compile put before a name
_SHOWN = 6


def load_flow(config: FlowConfig, path: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StarFlow:
    """The flow with the weights of `path`, in eval mode, without gradients. Raises ModelNotLoadable."""
    with torch.device("meta"):  # no memory until the weights are known to fit
        flow = StarFlow(config)
    state = checked_state(flow, read_state(path), path)
    placed = {name: value.to(device=device, dtype=dtype) for name, value in state.items()}
    flow.load_state_dict(placed, assign=True)
    return flow.eval().requires_grad_(False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without deprecated buffers and wrapping prefixes. Raises ModelNotLoadable."""
    if not path.is_file():
        raise ModelNotLoadable(f"{path}: there is no such file; give the checkpoint, a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        try:
            state: Mapping[str, Tensor] = load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise ModelNotLoadable(f"{path}: not a whole safetensors file ({error}); copy it again") from error
    else:
        state = _read_pickled(path)
    unwrapped = {}
    for name, value in state.items():
        while name.startswith(_WRAPPING):
            name = name.partition(".")[2]
        if not _DEPRECATED.fullmatch(name):
            unwrapped[name] = value
    return unwrapped


def checked_state(flow: StarFlow, state: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """`state` if names, shapes and values suit `flow`. Raises ModelNotLoadable, which names what does not."""
    wanted = flow.state_dict()
    problems = []
    for what, names in (
        ("missing", sorted(set(wanted) - set(state))),
        ("unknown", sorted(set(state) - set(wanted))),
        (
            "of another shape",
            [
                f"{name} {list(state[name].shape)} instead of {list(wanted[name].shape)}"
                for name in sorted(set(state) & set(wanted))
                if state[name].shape != wanted[name].shape
            ],
        ),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{what}: {', '.join(names[:_SHOWN])}{more}")
    if problems:
        raise ModelNotLoadable(
            f"{path}: these weights are not of this configuration; {'; '.join(problems)}. "
            "Give the configuration that the checkpoint was released with."
        )
    bad = [name for name, value in state.items() if not value.is_floating_point() or not bool(value.isfinite().all())]
    if bad:
        raise ModelNotLoadable(f"{path}: not finite numbers: {', '.join(bad[:_SHOWN])}; copy the file again")
    return state


def text_width(state: Mapping[str, Tensor]) -> int | None:
    """Width of the text states that a checkpoint reads; None where it reads none."""
    for name, value in state.items():
        if name.endswith(".proj_txt.weight"):
            return int(value.shape[1])
    return None


def _read_pickled(path: Path) -> Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelNotLoadable(
            f"{path}: holds more than tensors, so it is refused and nothing in it was run ({_first_line(error)}); "
            "give a plain state dict, or convert it to safetensors where you trust it"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelNotLoadable(
            f"{path}: not a whole checkpoint of torch.save ({_first_line(error)}); copy the file again"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelNotLoadable(
            f"{path}: holds a {type(content).__name__} that is no state dict (name -> tensor); save model.state_dict()"
        )
    return content


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
