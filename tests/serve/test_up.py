from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serve.errors import BadSettings
from serve.up import _environment, check_port


def test_check_port_refuses_a_port_that_is_taken_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            check_port("127.0.0.1", port)
    assert "\n" not in str(caught.value)
    check_port("127.0.0.1", port)


def test_check_port_refuses_a_host_that_is_not_here() -> None:
    with pytest.raises(BadSettings, match=r"192\.0\.2\.77"):
        check_port("192.0.2.77", 8000)


def test_what_ray_starts_does_not_inherit_the_admin_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiers may be classes from elsewhere; the gateway is told the key's hash."""
    monkeypatch.setenv("SWITCHBOARD_ADMIN_KEY", "correct-horse-battery-staple")
    monkeypatch.setenv("SWITCHBOARD_PORT", "9000")
    given = _environment()
    assert "SWITCHBOARD_ADMIN_KEY" not in given
    assert given["SWITCHBOARD_PORT"] == "9000"


def test_up_on_a_taken_port_says_so_in_one_line_and_starts_nothing(root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "serve", "up", "--port", port, "--journal", f"sqlite:///{tmp_path}/j.db"]
        run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert port in run.stderr
    assert not (tmp_path / "j.db").exists()
