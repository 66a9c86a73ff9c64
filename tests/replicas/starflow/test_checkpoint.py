"""Files that hold no weights, or not as a state dict: every one is an error that says what it is."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from replicas.errors import ModelNotLoadable
from replicas.starflow.checkpoint import load_flow, read_state
from replicas.starflow.config import FlowConfig
from replicas.starflow.model import StarFlow

CONFIG = FlowConfig.from_constructor(
    {"in_channels": 1, "img_size": 2, "patch_size": 1, "channels": 64, "num_blocks": 2, "layers_per_block": 1}
)
NAME = "blocks.0.proj_in.weight"


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(StarFlow(CONFIG).state_dict())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flow.pth"


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before archives"])
def test_both_layouts_of_torch_save_are_read(path: Path, archive: bool) -> None:
    given = weights()
    torch.save(given, path, _use_new_zipfile_serialization=archive)
    found = load_flow(CONFIG, path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in given.items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; copy the file again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "is a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html>", "no file of torch.save, it begins with b'<!DOCTYP'"),
        (pickle.dumps({"a": 1}), "a plain pickle, which may hold code and is not read"),
        (pickle.dumps({"a": 1}, 2), "a plain pickle, which may hold code and is not read"),
    ],
    ids=["empty", "lfs", "html", "pickle 4", "pickle 2"],
)
def test_file_that_torch_did_not_write_says_what_it_is(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelNotLoadable, match=said):
        read_state(path)


def test_pointer_in_place_of_safetensors_says_so(tmp_path: Path) -> None:
    (tmp_path / "flow.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelNotLoadable, match="is a pointer of Git LFS"):
        read_state(tmp_path / "flow.safetensors")


def test_safetensors_by_another_name_says_so(path: Path) -> None:
    save_file(weights(), path)
    with pytest.raises(ModelNotLoadable, match=r"looks like a safetensors file; if it is one, name it \.safetensors"):
        read_state(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_truncated_file_of_the_old_layout_is_an_error(path: Path, share: float) -> None:
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelNotLoadable, match=r"flow\.pth"):
        read_state(path)


class _Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/",)


@pytest.mark.parametrize("archive", [True, False])
def test_refusal_of_code_names_it_and_advises_nothing_unsafe(path: Path, archive: bool) -> None:
    torch.save({"a": _Calls()}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(
        ModelNotLoadable, match=r"holds more than tensors \(posix\.mkdir\).*nothing in it was"
    ) as raised:
        read_state(path)
    assert "weights_only" not in str(raised.value)
    assert "PyTorch" not in str(raised.value)


def renamed(name: Any) -> Callable[[dict[Any, Any]], Any]:
    return lambda state: {name if old == NAME else old: value for old, value in state.items()}


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[Any, Any]], Any]:
    return lambda state: {**state, NAME: change(state[NAME])}


BAD: dict[str, tuple[Callable[[dict[Any, Any]], Any], str]] = {
    "int name": (renamed(3), "names of weights must be texts, and it holds 3"),
    "bytes name": (renamed(b"a"), "names of weights must be texts, and it holds b'a'"),
    "float8": (
        changed(lambda one: one.to(torch.float8_e4m3fn)),
        rf"{NAME} is float8_e4m3fn; allowed: dense tensors of",
    ),
    "integers": (changed(lambda one: one.to(torch.int64)), rf"{NAME} is int64; allowed: dense tensors of float16"),
    "sparse": (changed(lambda one: one.to_sparse()), f"{NAME} is not dense"),
    "meta": (changed(lambda one: one.to("meta")), f"{NAME} is without values"),
    "twice": (lambda state: {**state, f"module.{NAME}": state[NAME]}, f"holds '{NAME}' twice, with and without a pre"),
    "nested": (
        lambda state: {"ema": state, "model": state, "step": 3},
        r"state dicts under 'ema', 'model'; save the one .* alone, torch.save\(content\['ema'\], path\)",
    ),
    "list": (lambda state: list(state.values()), "holds a list that is no state dict"),
    "number": (lambda state: {**state, "step": 3}, "holds a dict that is no state dict"),
    "nothing": (lambda state: {}, "holds a dict that is no state dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_content_that_is_no_state_dict_of_weights_is_named(path: Path, case: str) -> None:
    change, said = BAD[case]
    torch.save(change(weights()), path)
    with pytest.raises(ModelNotLoadable, match=said):
        load_flow(CONFIG, path)


def test_wrapping_prefixes_and_deprecated_buffers_are_dropped(path: Path) -> None:
    given = weights()
    state = {f"module._orig_mod.{name}": value for name, value in given.items()}
    torch.save({**state, "module.var": torch.ones(3, dtype=torch.int64)}, path)
    assert set(load_flow(CONFIG, path).state_dict()) == set(given)


def test_values_beyond_the_range_of_a_dtype_are_named(path: Path) -> None:
    torch.save({**weights(), NAME: torch.full_like(weights()[NAME], 1e5)}, path)
    with pytest.raises(
        ModelNotLoadable, match=f"{NAME} hold values beyond the range of float16; take bfloat16 or float32"
    ):
        load_flow(CONFIG, path, dtype=torch.float16)
    assert load_flow(CONFIG, path, dtype=torch.bfloat16).state_dict()[NAME].isfinite().all()
