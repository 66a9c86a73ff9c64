"""Weights of a flow from a file: safetensors, or a released `.pth` read with `weights_only=True` (no code in it runs).

Every way in which a file can be wrong has an error that names file, cause and cure. Nothing is loaded in part.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
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
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of torch.save began before they were archives
_PICKLE = b"\x80"
_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,80})")


def load_flow(config: FlowConfig, path: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StarFlow:
    """The flow with the weights of `path`, in eval mode, without gradients. Raises ModelNotLoadable."""
    with torch.device("meta"):  # no memory until the weights are known to fit
        flow = StarFlow(config)
    state = checked_state(flow, read_state(path), path)
    placed = {name: value.to(device=device, dtype=dtype) for name, value in state.items()}
    beyond = [name for name, value in placed.items() if value.dtype != state[name].dtype and not _finite(value)]
    if beyond:
        raise ModelNotLoadable(
            f"{path}: {_listed(beyond)} hold values beyond the range of {_named(dtype)}; take bfloat16 or float32"
        )
    flow.load_state_dict(placed, assign=True)
    return flow.eval().requires_grad_(False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without deprecated buffers and wrapping prefixes. Raises ModelNotLoadable."""
    if not path.is_file():
        raise ModelNotLoadable(f"{path}: there is no such file; give the checkpoint, a .safetensors or .pth file")
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise ModelNotLoadable(f"{path}: is empty; copy the file again")
    if head.startswith(_LFS_POINTER):
        raise ModelNotLoadable(
            f"{path}: is a pointer of Git LFS in place of the weights; fetch them with `git lfs pull`"
        )
    if path.suffix == ".safetensors":
        try:
            state: Mapping[str, Tensor] = load_file(path)
        except (OSError, SafetensorError, ValueError, KeyError) as error:  # KeyError: a type that torch does not have
            raise ModelNotLoadable(f"{path}: not a whole safetensors file ({error}); copy it again") from error
    else:
        state = _checked_dict(_read_pickled(path, head), path)
    unwrapped: dict[str, Tensor] = {}
    for given, value in state.items():
        name = given
        while name.startswith(_WRAPPING):
            name = name.partition(".")[2]
        if name in unwrapped:
            raise ModelNotLoadable(
                f"{path}: holds {name!r} twice, with and without a prefix ({', '.join(_WRAPPING)}); save the weights "
                "of one model alone"
            )
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
            problems.append(f"{what}: {_listed(names)}")
    if problems:
        raise ModelNotLoadable(
            f"{path}: these weights are not of this configuration; {'; '.join(problems)}. "
            "Give the configuration that the checkpoint was released with."
        )
    unusable = [f"{name} is {kind}" for name, value in state.items() if (kind := _unusable(value)) is not None]
    if unusable:
        allowed = ", ".join(_named(dtype) for dtype in _DTYPES)
        raise ModelNotLoadable(f"{path}: {_listed(unusable)}; allowed: dense tensors of {allowed}")
    bad = [name for name, value in state.items() if not _finite(value)]
    if bad:
        raise ModelNotLoadable(f"{path}: not finite numbers: {_listed(bad)}; copy the file again")
    return state


def _read_pickled(path: Path, head: bytes) -> object:
    """What torch.save wrote, by its content and not by the name of the file."""
    archive = zipfile.is_zipfile(path)
    if not archive and head.startswith(_ZIP):
        raise ModelNotLoadable(f"{path}: not a whole checkpoint of torch.save, its end is missing; copy the file again")
    if not archive and head[8:9] == b"{":
        raise ModelNotLoadable(f"{path}: looks like a safetensors file; if it is one, name it .safetensors")
    if not archive and not head.startswith(_BEFORE_ZIP):
        what = "is a plain pickle, which may hold code and is not read" if head.startswith(_PICKLE) else (
            f"is no file of torch.save, it begins with {head[:8]!r}"
        )  # fmt: skip
        raise ModelNotLoadable(f"{path}: {what}; give what torch.save(model.state_dict(), path) wrote, or safetensors")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)  # only archives can be mapped
    except pickle.UnpicklingError as error:  # torch's own text goes on to advise reading it all the same
        asked = _GLOBAL.search(str(error))
        what = f" ({asked[1]})" if asked else ""
        raise ModelNotLoadable(
            f"{path}: holds more than tensors{what}, so it is refused and nothing in it was run; give a plain state "
            "dict, or convert it to safetensors where you trust it"
        ) from error
    except Exception as error:  # the unpickler fails in many ways on a file that was cut or changed
        first = str(error).strip().split("\n")[0]
        raise ModelNotLoadable(
            f"{path}: not a whole checkpoint of torch.save ({type(error).__name__}: {first}); copy the file again"
        ) from error


def _checked_dict(content: object, path: Path) -> Mapping[str, Tensor]:
    if isinstance(content, dict):
        inside = [repr(name) for name, value in content.items() if _is_state(value)]
        if inside:
            raise ModelNotLoadable(
                f"{path}: holds state dicts under {_listed(inside)}; save the one to draw with alone, "
                f"torch.save(content[{inside[0]}], path)"
            )
        strange = [repr(name) for name in content if not isinstance(name, str)]
        if strange:
            raise ModelNotLoadable(f"{path}: names of weights must be texts, and it holds {_listed(strange)}")
        if content and _is_state(content):
            return content
    raise ModelNotLoadable(
        f"{path}: holds a {type(content).__name__} that is no state dict (name -> tensor); save model.state_dict()"
    )


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(one, Tensor) for one in value.values())


def _unusable(value: Tensor) -> str | None:
    """What a tensor is that no weight may be."""
    if value.is_meta:
        return "without values (on the meta device)"
    if value.layout != torch.strided or value.is_nested:
        return "not dense"
    return None if value.dtype in _DTYPES else _named(value.dtype)


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
