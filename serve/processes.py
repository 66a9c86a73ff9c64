"""Processes that this one has started, and theirs: find them, end them all. Linux only, by /proc and prctl."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none can slip away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: signal.Signals) -> None:
    """Get a signal when the parent process ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def descendants(pid: int | None = None) -> list[int]:
    """Living processes below `pid` (None: this one), children before grandchildren. Zombies are not counted."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None and stat[0] != "Z":
            children.setdefault(stat[1], []).append(int(entry.name))
    found: list[int] = []
    level = [os.getpid() if pid is None else pid]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


def end_descendants(patience_s: float) -> list[int]:
    """Wait `patience_s` for all descendants to end by themselves, then kill what is left. Returns the killed."""
    deadline_s = time.monotonic() + patience_s
    while (left := descendants()) and time.monotonic() < deadline_s:
        _reap()
        time.sleep(0.05)
    killed = left
    for _ in range(100):  # a process killed in the middle of starting another leaves that one to the next round
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap()
        time.sleep(0.05)
        left = descendants()
    _reap()
    return killed


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process; its name, which comes before, may hold any character."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return fields[0], int(fields[1])


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
