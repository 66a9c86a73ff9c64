"""From what an operator writes to what may be loaded: class paths, model folders and hub ids, all checked.

Nothing is unpickled and no code that comes with weights is run: weights are safetensors, hub models are pinned to a
commit, and huggingface_hub obeys HF_HUB_OFFLINE by itself.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ClassNotUsable, ModelNotLoadable
from .scorer import Scorer
from .tier import Tier

if TYPE_CHECKING:
    import torch

Base = TypeVar("Base")

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PICKLED = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
_DTYPES = ("float32", "bfloat16", "float16")
_TRANSFORMERS_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


def resolve(import_path: str, base: type[Base]) -> type[Base]:
    """The class that "package.module:Class" names, which must be a subclass of `base`. Raises ClassNotUsable."""
    if not _IMPORT_PATH.fullmatch(import_path):
        raise ClassNotUsable(f"class {import_path!r} is no import path; write it as package.module:ClassName")
    module_name, _, class_name = import_path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            do = "check the spelling and run from the directory that holds it, or install its package"
        else:
            do = f"{module_name} itself needs it: install it"
        raise ClassNotUsable(f"class {import_path!r}: there is no module {missing!r}; {do}") from error
    except Exception as error:
        raise ClassNotUsable(
            f"class {import_path!r}: importing {module_name} raised {type(error).__name__}: {error}; "
            f"`python -c 'import {module_name}'` shows where"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        allowed = ", ".join(_subclasses_in(module, base)) or "none"
        raise ClassNotUsable(
            f"class {import_path!r}: {module_name} has no {class_name}; subclasses of {base.__name__} in it: {allowed}"
        )
    if not isinstance(found, type) or not issubclass(found, base):
        raise ClassNotUsable(
            f"class {import_path!r} is {found!r}, not a subclass of {base.__module__}.{base.__name__}; "
            f"derive it from {base.__name__} and write its abstract methods"
        )
    abstract = sorted(getattr(found, "__abstractmethods__", ()))
    if abstract:
        raise ClassNotUsable(f"class {import_path!r} is abstract; it still has to define: {', '.join(abstract)}")
    return found


def build_tier(
    import_path: str, model: str | None = None, presets: Mapping[str, Mapping[str, Any]] | None = None, **options: Any
) -> Tier:
    """An unloaded tier of the class that `import_path` names. Raises ClassNotUsable, and what the class raises."""
    given = {"model": model, "presets": presets, **options}
    return _construct(import_path, Tier, given)  # type: ignore[type-abstract]


def build_scorer(import_path: str, **options: Any) -> Scorer:
    """An unloaded scorer of the class that `import_path` names. Raises ClassNotUsable, and what the class raises."""
    return _construct(import_path, Scorer, options)  # type: ignore[type-abstract]


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of that name. Raises ModelNotLoadable."""
    if name not in _DTYPES:
        raise ModelNotLoadable(f"dtype {name!r} is unknown; known: {', '.join(_DTYPES)}")
    import torch  # checking a catalogue needs no torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


def check_source(model: str, revision: str | None) -> Path | None:
    """The checked local folder of `model`, or None where it is a hub id with a pinned revision.

    A name that is a folder is local; otherwise "owner/name" is a hub id. Raises ModelNotLoadable.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return folder
    if folder.is_file():
        raise ModelNotLoadable(f"model {model!r} is a file; give the folder that save_pretrained() wrote")
    if not _HUB_ID.fullmatch(model):
        raise ModelNotLoadable(
            f"model {model!r}: there is no such folder (looked at {folder.absolute()}), and it is no hub id, which is "
            "owner/name; correct the path, or mount the folder on this machine"
        )
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ModelNotLoadable(
            f"model {model!r} is no folder here, so it is a hub id, and its revision is {revision!r}; "
            "a hub model is pinned: give as revision the 40 hexadecimal digits of the commit that you have looked at"
        )
    return None


def check_folder(folder: Path) -> None:
    """Refuse a model folder with weights that only a pickle holds: loading a pickle can run any code in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise ModelNotLoadable(f"model folder {folder} is empty; give the folder that save_pretrained() wrote")
    safe_folders = {path.parent for path in files if path.suffix == ".safetensors"}
    unsafe = sorted(path for path in files if path.suffix.lower() in _PICKLED and path.parent not in safe_folders)
    if unsafe:
        names = ", ".join(str(path.relative_to(folder)) for path in unsafe[:3])
        more = f" and {len(unsafe) - 3} more" if len(unsafe) > 3 else ""
        raise ModelNotLoadable(
            f"model folder {folder} holds pickles without a safetensors file beside them: {names}{more}; only "
            "safetensors are loaded: take a revision that has them, or convert the weights where you trust them with "
            "save_pretrained(safe_serialization=True)"
        )


def transformers_folder(model: str, revision: str | None) -> Path:
    """The local folder of a transformers model, fetched from the hub where needed, and checked."""
    folder = check_source(model, revision)
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(_TRANSFORMERS_FILES)))
    except (OSError, ValueError) as error:  # huggingface_hub's own errors derive from these
        raise not_fetched(model, revision, error) from error
    check_folder(folder)
    return folder


def not_fetched(model: str, revision: str | None, error: Exception) -> ModelNotLoadable:
    """The error for a hub model that did not arrive."""
    return ModelNotLoadable(
        f"model {model!r} at revision {revision} could not be fetched ({type(error).__name__}: {error}); without a "
        "network (or with HF_HUB_OFFLINE=1) it must already be in the hub's cache, or be given as a local folder"
    )


def _construct(import_path: str, base: type[Base], options: Mapping[str, Any]) -> Base:
    found = resolve(import_path, base)
    signature = inspect.signature(found)
    try:
        signature.bind(**options)
    except TypeError as error:
        given = ", ".join(sorted(options)) or "none"
        raise ClassNotUsable(
            f"class {import_path!r} does not take the given options ({given}): {error}; it takes {signature}"
        ) from error
    return found(**options)


def _subclasses_in(module: Any, base: type) -> list[str]:
    return sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    )
