"""`python -m serve up`: checks first, then supervises a child process that runs Ray, and leaves nothing behind.

The child (local.py) has a session of its own, so Ctrl-C in a terminal reaches this process only, at any moment: it
asks the child to stop, a second Ctrl-C kills. Whatever Ray has started ends up below this process and is ended.
A second child (preflight.py) checks the catalogue's classes while Ray starts; until it is through, nothing is deployed.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from pydantic import BaseModel, ConfigDict

from .catalogue import Catalogue
from .errors import BadSettings, NotStarted
from .preflight import refusal
from .processes import adopt_orphans, end_descendants
from .settings import Settings
from .temp_dirs import TempDir, remove_stale

STOP_SIGNAL = signal.SIGUSR1  # to the child: ray.init replaces what is done on SIGTERM, in Python and below it

_ROOT = Path(__file__).parent.parent
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_LIMIT_S = 40.0  # for a stop in good order; after that it is killed
_STARTING_STOP_LIMIT_S = 3.0  # the same before it is ready, when there is nothing to lose
_ASK_AGAIN_S = 1.0
_ORPHANS_S = 3.0  # for Ray's processes to see that their parent is gone
_RAY_DIR = "r"  # short: the path of a Unix socket below it may have 107 bytes, of which Ray uses about 64
_LONGEST_TEMP_DIR = 107 - 64 - len("/r")


class Start(BaseModel):
    """What the child is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue_json: str
    settings: Settings
    temp_dir: Path
    asked_at_s: float  # Unix time at which the user asked
    supervisor_pid: int

    @property
    def ray_dir(self) -> Path:
        """Ray opens its directory to everyone; the one above it stays closed."""
        return self.temp_dir / _RAY_DIR

    @property
    def checked_file(self) -> Path:
        """There once the catalogue's classes have been found good."""
        return self.temp_dir / "checked"

    @property
    def ready_file(self) -> Path:
        """There once the child may have accepted requests, so that it has to be asked to stop."""
        return self.temp_dir / "ready"


def check_port(host: str, port: int) -> None:
    """Raises BadSettings if nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        raise BadSettings(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Stop what runs there, or take another --port."
        ) from error


def up(catalogue: Catalogue, settings: Settings, asked_at_s: float) -> int:
    """Start all of it and stay until a signal comes. The exit status: 0 stopped, 1 not started or died, 130 killed.

    Raises CatalogueError where a class, its options or its device cannot be used.
    """
    supervisor = _Supervisor()
    remove_stale()
    temp_dir = TempDir()
    try:
        if len(os.fsencode(temp_dir.path)) > _LONGEST_TEMP_DIR:
            raise BadSettings(f"{temp_dir.path} is too long for Ray's sockets; set TMPDIR to a shorter path, as /tmp")
        adopt_orphans()
        told = Start(
            catalogue_json=catalogue.to_json(),
            settings=settings,
            temp_dir=temp_dir.path,
            asked_at_s=asked_at_s,
            supervisor_pid=os.getpid(),
        )
        return supervisor.run(told, temp_dir.lock_fd)
    finally:
        end_descendants(_ORPHANS_S if supervisor.in_good_order else 0.0)
        temp_dir.remove()
        # All is done; but a Ctrl-C while the interpreter ends would kill it, and the exit status be that of a failure.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class _Supervisor:
    """Two child processes and the signals meant for them. Catches signals from its making on."""

    def __init__(self) -> None:
        self.signals = 0
        self.in_good_order = False  # did the child end by itself, as it was asked to?
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def run(self, told: Start, lock_fd: int) -> int:
        """Until the child has ended; the exit status."""
        preflight: subprocess.Popen[bytes] | None = _spawn("serve.preflight", told.catalogue_json, capture=True)
        # By standard input, as every user of the machine can read arguments, and a journal's URL may hold a password.
        child = _spawn("serve.local", told.model_dump_json(), lock_fd)
        asked_s = asked_again_s = 0.0
        while child.poll() is None:
            now_s = time.monotonic()
            if self.signals and not asked_s:
                asked_s = now_s
                print("stopping; Ctrl-C again kills", flush=True)
            if self.signals and now_s - asked_again_s > _ASK_AGAIN_S:  # again: Python forgets one that C code runs into
                asked_again_s = now_s
                child.send_signal(STOP_SIGNAL)
            starting = not told.ready_file.exists()
            if self.signals > 1 or (asked_s and not starting and now_s - asked_s > _STOP_LIMIT_S):
                child.kill()
                child.wait()
                print("killed", flush=True)
                return 130
            if asked_s and starting and now_s - asked_s > _STARTING_STOP_LIMIT_S:
                child.kill()
                child.wait()
                break
            if preflight is not None and preflight.poll() is not None and not self.signals:
                _judge(preflight, told)
                preflight = None
            time.sleep(0.1)
        if self.signals:
            self.in_good_order = told.ready_file.exists()
            print("stopped", flush=True)
            return 0
        print(f"ended by itself, status {child.returncode}", file=sys.stderr, flush=True)
        return 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.signals += 1


def _spawn(module: str, told: str, *kept_fds: int, capture: bool = False) -> subprocess.Popen[bytes]:
    """A child in a session of its own that reads what it is told."""
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if capture else None,
        start_new_session=True,
        cwd=_ROOT,
        pass_fds=kept_fds,
        env=_environment(),
    )
    assert child.stdin is not None
    with child.stdin as pipe:
        pipe.write(told.encode())
    return child


def _environment() -> dict[str, str]:
    """This process's, with what Ray reads while it is imported, whatever the shell says."""
    # The child is told the settings; what Ray starts, classes from elsewhere included, has no business with the key.
    dropped = ("RAY_AUTH_TOKEN_PATH", "SWITCHBOARD_ADMIN_KEY")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # of our own: Ray's would stay in ~/.ray
        # Otherwise it listens on all interfaces, for other machines of a cluster; the name is from other systems.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def _judge(preflight: subprocess.Popen[bytes], told: Start) -> None:
    """Let the child go on, or raise CatalogueError."""
    assert preflight.stdout is not None
    with preflight.stdout as pipe:
        answer = pipe.read()
    if preflight.returncode != 0:
        raise NotStarted(f"checking the catalogue's classes ended with status {preflight.returncode}")
    if problems := json.loads(answer.splitlines()[-1]):
        raise refusal(problems, told.settings.catalogue)
    told.checked_file.touch()
