from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from serve.temp_dirs import TempDir, remove_stale


@pytest.fixture(autouse=True)
def temp_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_temp_dir_is_its_owners_alone_and_goes_with_what_is_in_it(temp_root: Path) -> None:
    made = TempDir()
    assert made.path.stat().st_mode & 0o777 == 0o700
    (made.path / "file").write_text("")
    made.remove()
    assert list(temp_root.iterdir()) == []


def test_remove_stale_removes_only_what_nobody_holds(temp_root: Path) -> None:
    alive, dead = TempDir(), TempDir()
    os.close(dead.lock_fd)
    for name in ("switchboard-young", "other"):
        (temp_root / name).mkdir()
    (temp_root / "switchboard-link").symlink_to(dead.path)
    assert remove_stale() == [dead.path]
    assert not dead.path.exists()
    assert {path.name for path in temp_root.iterdir()} == {
        alive.path.name, "switchboard-young", "other", "switchboard-link"
    }  # fmt: skip
    alive.remove()
