"""`python -m serve up`: checks first, then supervises a child process that runs Ray, and leaves nothing behind.

The child (local.py) has a session of its own, so Ctrl-C in a terminal reaches this process only, at any moment: it
asks the child to stop, a second Ctrl-C kills. Whatever Ray has started ends up below this process and is ended.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from pydantic import BaseModel, ConfigDict

from .catalogue import Catalogue
from .errors import BadSettings
from .processes import adopt_orphans, end_descendants
from .settings import Settings

STOP_SIGNAL = signal.SIGUSR1  # to the child: ray.init replaces what is done on SIGTERM, in Python and below it

_STOP_LIMIT_S = 40.0  # for a stop in good order; after that it is killed
_ORPHANS_S = 3.0  # for Ray's processes to see that their parent is gone


class Start(BaseModel):
    """What the child is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue_json: str
    settings: Settings
    temp_dir: Path
    asked_at_s: float  # Unix time at which the user asked


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
    """Start all of it and stay until a signal comes. The exit status: 0 stopped, 1 not started or died, 130 killed."""
    temp_dir = Path(tempfile.mkdtemp(prefix="switchboard-"))
    told = Start(catalogue_json=catalogue.to_json(), settings=settings, temp_dir=temp_dir, asked_at_s=asked_at_s)
    supervisor = _Supervisor()
    adopt_orphans()
    try:
        # By standard input, as every user of the machine can read arguments, and a journal's URL may hold a password.
        return supervisor.run([sys.executable, "-m", "serve.local"], told.model_dump_json().encode())
    finally:
        end_descendants(0.0 if supervisor.signals > 1 else _ORPHANS_S)
        shutil.rmtree(temp_dir, ignore_errors=True)


class _Supervisor:
    """One child process and the signals meant for it."""

    def __init__(self) -> None:
        self.signals = 0
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, command: list[str], told: bytes) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        root = Path(__file__).parent.parent
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd=root)  # noqa: S603
        assert self._child.stdin is not None
        with self._child.stdin as pipe:
            pipe.write(told)
        asked_s: float | None = None
        while self._child.poll() is None:
            if self.signals and asked_s is None:
                asked_s = time.monotonic()
                print("stopping; Ctrl-C again kills", flush=True)
                self._child.send_signal(STOP_SIGNAL)
            if self.signals > 1 or (asked_s is not None and time.monotonic() - asked_s > _STOP_LIMIT_S):
                self._child.kill()
                self._child.wait()
                print("killed", flush=True)
                return 130
            time.sleep(0.1)
        if self.signals:
            print("stopped", flush=True)
            return 0
        print(f"ended by itself, status {self._child.returncode}", file=sys.stderr, flush=True)
        return 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.signals += 1
