"""Tests of the tree itself: where names resolve, what may stand where, and who imports what."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bandit", "cluster", "replicas", "serve")
AT_ROOT = {
    "pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE", "NOTICE", "CHANGELOG.md",
    "CONTRIBUTING.md", ".gitignore", ".gitattributes", ".ci", "docs", "tests", *PACKAGES,
}  # fmt: skip
TOO_GENERAL = {"utils", "util", "common", "misc", "helpers", "helper", "base", "core"}
LIMIT_LINES = 400
LIMIT_MIB = 10
PICKLED = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy"}
# The one file (below its package) that may import a library at run time; training code beside it may too.
ONE_IMPORTER = {
    "vowpal_wabbit_next": {"bandit/vowpal.py"},
    "diffusers": {"replicas/diffusion.py"},
    "triton": {
        f"replicas/kernels/{name}.py"
        for name in ("attention_forward", "attention_backward", "attention_tuning", "compile_attention")
    },
    "transformers": {
        "replicas/clip_scorer.py", "replicas/diffusion.py", "replicas/sentence_encoder.py", "replicas/starflow/text.py",
    },
}  # fmt: skip
NOT_IN = {"bandit": {"torch", "ray", "replicas", "cluster", "serve"}, "replicas": {"ray", "bandit", "cluster", "serve"},
          "cluster": {"torch", "ray", "numpy", "bandit", "replicas", "serve"}}  # fmt: skip


def tracked() -> list[Path]:
    """Files that git knows; in an unpacked copy without git, the files of the tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
        return [Path(name) for name in names if (ROOT / name).is_file()]
    found = [path.relative_to(ROOT) for part in AT_ROOT for path in [ROOT / part, *(ROOT / part).rglob("*")]]
    return [path for path in found if (ROOT / path).is_file() and "__pycache__" not in path.parts]


def modules() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.parts[0] in PACKAGES]


def imports(path: Path) -> Iterator[str]:
    """Top names of what a file imports anywhere, functions included; imports for types alone do not count."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_name_resolves_inside_this_tree(name: str) -> None:
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin or "") if spec else None
    assert origin == ROOT / name / "__init__.py", (
        f"`import {name}` finds {origin}, not this tree. Cause: another package of that name is installed (on PyPI, "
        f"`bandit` is a linter) or another checkout comes first on sys.path ({sys.path[:3]}). "
        f"Cure: `{sys.executable} -m pip uninstall {name}`, or remove .venv and run `make setup`; start from {ROOT}."
    )


def test_root_holds_only_what_is_expected_there() -> None:
    assert {path.parts[0] for path in tracked()} <= AT_ROOT


def test_tests_hold_no_init_file() -> None:
    """With one, tests/bandit would become the package `bandit`."""
    assert [path for path in tracked() if path.parts[0] == "tests" and path.name == "__init__.py"] == []


def test_every_folder_of_a_package_is_a_package() -> None:
    folders = {path.parent for path in modules()}
    assert [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()] == []


def test_no_file_is_named_for_everything() -> None:
    assert [path for path in modules() if path.stem in TOO_GENERAL] == []


def test_long_files_say_why_they_are_not_split() -> None:
    def unexplained(path: Path) -> bool:
        text = (ROOT / path).read_text(encoding="utf-8")
        words = ast.get_docstring(ast.parse(text)) or ""
        return text.count("\n") > LIMIT_LINES and f"{LIMIT_LINES} lines" not in words

    long = [str(path) for path in tracked() if path.suffix == ".py" and unexplained(path)]
    assert long == [], (
        f"more than {LIMIT_LINES} lines: split, or say in the docstring why over {LIMIT_LINES} lines: {long}"
    )


def test_every_name_in_all_exists_and_is_public() -> None:
    """Read from the source, so that nothing heavy is imported."""
    for path in modules():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assigned = {name.id: node.value for node in tree.body if isinstance(node, ast.Assign)
                    for name in node.targets if isinstance(name, ast.Name)}  # fmt: skip
        if "__all__" not in assigned:
            continue
        promised = ast.literal_eval(assigned["__all__"])
        defined = set(assigned) | {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        defined |= {
            node.target.id
            for node in tree.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        missing = sorted(set(promised) - defined)
        assert missing == [], f"{path}: __all__ promises what is not there: {missing}"
        assert len(promised) == len(set(promised)), f"{path}: __all__ names something twice"


@pytest.mark.parametrize("package", sorted(NOT_IN))
def test_package_imports_nothing_that_belongs_elsewhere(package: str) -> None:
    """The import contracts of `make check` see this and chains of imports too; this one runs with every test run."""
    found = {
        f"{path} imports {name}" for path in modules() if path.parts[0] == package for name in imports(path)
        if name in NOT_IN[package]
    }  # fmt: skip
    assert found == set()


@pytest.mark.parametrize("library", sorted(ONE_IMPORTER))
def test_library_is_imported_in_its_one_place(library: str) -> None:
    importers = {path.as_posix() for path in modules() if library in imports(path) and "training" not in path.parts}
    assert importers <= ONE_IMPORTER[library]


def test_nothing_stored_is_a_pickle() -> None:
    assert [path for path in tracked() if path.suffix in PICKLED] == []


def test_no_file_is_too_large_for_the_tree() -> None:
    large = [str(path) for path in tracked() if (ROOT / path).stat().st_size > LIMIT_MIB * 2**20]
    assert large == []


def test_constraints_pin_exactly_and_name_no_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line or "+" in line] == []
    assert any(line.startswith("torch==") for line in lines)


def test_bandit_imports_without_torch_and_ray() -> None:
    """What the contract means in practice: the learner starts on a machine that has neither."""
    code = "import sys; import bandit.policies; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
