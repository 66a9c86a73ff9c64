"""`python -m serve up` as a user runs it: what it prints and serves, and that nothing is left when it was stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serve.processes import descendants
from tests.e2e.cluster import CATALOGUE, free_port, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


class Up:
    """One `up` in a session of its own, so that a signal to its group is what Ctrl-C in a terminal is."""

    def __init__(self, root: Path, directory: Path) -> None:
        (directory / "catalogue.yaml").write_text(CATALOGUE)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output_path = directory / "output.txt"
        self.temp_dir = directory / "t"  # short: Ray puts sockets below it, whose paths are limited
        self.temp_dir.mkdir()
        self.seen: set[int] = set()
        with self.output_path.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve", "up", "--catalogue", directory / "catalogue.yaml"]
                + ["--port", str(self.port), "--journal", f"sqlite:///{directory}/journal.db"],
                cwd=root,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.temp_dir)},
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def wait_for_output(self, pattern: str) -> None:
        def seen() -> bool:
            self.note_processes()
            assert self.process.poll() is None, self.output
            return re.search(pattern, self.output) is not None

        wait_for(seen, 300)

    def note_processes(self) -> None:
        self.seen.update(descendants(self.process.pid))

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.note_processes()
        os.killpg(self.process.pid, number)

    def assert_nothing_is_left(self) -> None:
        assert self.seen
        left = [pid for pid in self.seen if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]
        assert not left, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        assert list(self.temp_dir.iterdir()) == []


@pytest.fixture
def started(root: Path) -> Iterator[Up]:
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        made = Up(root, Path(directory))
        yield made
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGINT)
            os.killpg(made.process.pid, signal.SIGINT)
            made.process.wait(60)


def test_up_serves_and_stops_without_a_trace_on_ctrl_c(started: Up, root: Path, tmp_path: Path) -> None:
    started.wait_for_output(r"ready in \d+ s: http://127\.0\.0\.1:\d+")
    for name in ("gateway", "learner", "scorer", "tier-small", "tier-slow", "tier-narrow"):
        assert re.search(rf"{name} ready after [\d.]+ s", started.output)

    def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serve", *arguments, "--url", started.url]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)

    assert {path.stat().st_mode & 0o777 for path in started.output_path.parent.glob("journal.db*")} == {0o600}
    drawn = serve("generate", "two cats", "--folder", str(tmp_path), "--model", "small")
    assert drawn.returncode == 0, drawn.stderr
    assert Path(drawn.stdout.splitlines()[0]).read_bytes().startswith(b"\x89PNG")
    assert serve("status").stdout.startswith("ok\n")
    refused = serve("generate", "two cats", "--size", "1x1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)

    again = [sys.executable, "-m", "serve", "up", "--port", str(started.port), "--journal", f"sqlite:///{tmp_path}/j"]
    second = subprocess.run(again, cwd=root, capture_output=True, text=True, timeout=120)
    assert (second.returncode, second.stderr.count("\n")) == (2, 1)

    started.interrupt()
    assert started.process.wait(90) == 0
    assert "stopped" in started.output
    assert "Traceback" not in started.output
    started.assert_nothing_is_left()
    with pytest.raises(httpx.ConnectError):
        httpx.get(started.url)


@pytest.mark.parametrize("after_s", [0.0, 1.0, 3.0, 6.0, 9.0])
def test_up_stops_at_any_moment_of_starting(started: Up, after_s: float) -> None:
    started.wait_for_output("starting")
    deadline_s = time.monotonic() + after_s
    while time.monotonic() < deadline_s:
        started.note_processes()
        time.sleep(0.05)
    started.interrupt(signal.SIGTERM if after_s == 3.0 else signal.SIGINT)
    assert started.process.wait(60) == 0
    assert "stopped" in started.output
    assert "killed" not in started.output
    assert "Traceback" not in started.output
    started.assert_nothing_is_left()


def test_up_stops_once_ray_has_started(started: Up) -> None:
    started.wait_for_output("Ray started")
    started.interrupt(signal.SIGTERM)
    assert started.process.wait(60) == 0
    started.assert_nothing_is_left()


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_up_listens_on_loopback_only_and_its_directory_is_closed_to_others(started: Up) -> None:
    started.wait_for_output("gateway ready")
    started.note_processes()
    # Serve binds the gRPC port of each replica to all interfaces, without a switch; Ray's token guards it.
    listening = {pid for pid in started.seen if "ServeReplica" not in command_line(pid)}
    addresses = {address for pid in listening for address in listening_addresses(pid)}
    assert addresses
    assert {address for address in addresses if not is_loopback(address)} == set()
    (directory,) = started.temp_dir.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_up_removes_what_a_killed_one_left(started: Up, root: Path) -> None:
    started.wait_for_output("Ray started")
    (left,) = started.temp_dir.iterdir()
    started.note_processes()
    started.process.kill()
    started.process.wait()
    wait_for(lambda: all(is_zombie(pid) for pid in started.seen), 60)
    assert left.exists()
    environ = {**os.environ, "TMPDIR": str(started.temp_dir)}
    command = [sys.executable, "-c", "from serve.temp_dirs import remove_stale; print(remove_stale()[0])"]
    removed = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=True)
    assert removed.stdout.strip() == str(left)
    assert not left.exists()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("class: replicas.fake:FakeTier", "class: os:system", r"tiers\[0\]\.class: .*not a subclass"),
        ("class: replicas.fake:FakeTier", "class: replicas.fake:NoSuch", r"tiers\[0\]\.class: .*has no NoSuch"),
        ("options: {service_s: 3.0}", "options: {steps: 3}", r"tiers\[1\]\.presets\.long\.options\.steps: .*unknown"),
    ],
)
def test_up_refuses_what_no_replica_could_load_and_names_the_line(
    root: Path, tmp_path: Path, before: str, after: str, expected: str
) -> None:
    text = CATALOGUE.replace(before, after, 1)
    line = next(number for number, words in enumerate(text.splitlines(), 1) if after in words)
    path = tmp_path / "catalogue.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "serve", "up", "--catalogue", path, "--port", str(free_port())]
    run = subprocess.run(
        [*command, "--journal", f"sqlite:///{tmp_path}/j.db"], cwd=root, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 2
    assert re.fullmatch(rf"{re.escape(str(path))}:{line}: {expected}.*\n", run.stderr), run.stderr
    assert "ready" not in run.stdout


def test_up_is_killed_by_a_second_ctrl_c_at_once(started: Up) -> None:
    wait_for(lambda: started.note_processes() or len(started.seen) > 3, 120)
    started.interrupt()
    time.sleep(0.3)
    began_s = time.monotonic()
    started.interrupt()
    assert started.process.wait(60) in (0, 130)
    assert time.monotonic() - began_s < 30
    started.assert_nothing_is_left()


def listening_addresses(pid: int) -> list[str]:
    """In the kernel's notation: hexadecimal, in the order of bytes in memory."""
    try:
        links = [os.readlink(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links]


def is_loopback(address: str) -> bool:
    return address in ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
