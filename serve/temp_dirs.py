"""A directory for one run that only its owner may enter, and the removal of those whose owners were killed.

Each has a file `lock` that its owner holds locked: the kernel lets go of it however the owner ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "switchboard-"
_LOCK = "lock"


class TempDir:
    """A fresh directory of mode 0700. A child process that inherits `lock_fd` holds the lock too."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        unlocked = self.path / "lock.new"  # it gets its name once it is locked, so that nobody takes it for a dead one
        self.lock_fd = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX)
        unlocked.rename(self.path / _LOCK)

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock_fd)


def remove_stale() -> list[Path]:
    """Remove this user's directories whose owners are gone. Returns the removed."""
    stale = [path for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*") if _is_stale(path)]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return stale


def _is_stale(path: Path) -> bool:
    try:
        if path.is_symlink() or path.lstat().st_uid != os.geteuid():
            return False
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
