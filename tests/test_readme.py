"""The README promises files, targets, commands and a layout: all of them exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from serve.__main__ import app
from serve.catalogue import parse_catalogue


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)


def test_readme_links_point_to_files_of_the_tree(root: Path, readme: str):
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in target]
    assert targets
    assert all((root / target).is_file() for target in targets), targets


def test_readme_make_targets_exist(root: Path, readme: str):
    named = set(re.findall(r"`make ([a-z-]+)", readme)) | set(re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE))
    made = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= made


def test_readme_commands_parse(readme: str):
    commands = re.findall(r"python -m serve ([^`\n#]+)", readme)
    assert commands
    known = get_command(app).commands
    for command in commands:
        name, *arguments = shlex.split(command)
        known[name].make_context(name, arguments)


def test_readme_python_blocks_compile(readme: str):
    found = blocks(readme, "python")
    assert found
    for block in found:
        compile(block, "README.md", "exec")


def test_readme_tier_example_fits_the_default_catalogue(root: Path, readme: str):
    (block,) = blocks(readme, "yaml")
    default = (root / "serve" / "catalogue.yaml").read_text(encoding="utf-8")
    assert parse_catalogue(f"{default}\n{block}", "README.md").tiers[-1].name == "sdxl"


def test_readme_layout_names_every_directory(root: Path, readme: str):
    (layout,) = blocks(readme, "text")
    named = {line.split("/")[0] for line in layout.splitlines()}
    there = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    ignored = {"runs", "shared", "checkpoints"}
    assert named == {name for name in there - ignored if not name.startswith("__") and not name.endswith(".egg-info")}
