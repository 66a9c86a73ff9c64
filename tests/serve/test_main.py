from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("arguments", [["--url", "notaurl"], ["--folder", "{file}"], ["--url", "http://127.0.0.1:9"]])
def test_generate_with_a_bad_option_says_so_in_one_line(root: Path, tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    given = [argument.format(file=file) for argument in arguments]
    command = [sys.executable, "-m", "serve", "generate", "two cats", *given]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run.stderr
    assert given[1] in run.stderr
