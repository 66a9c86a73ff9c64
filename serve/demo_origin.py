"""Where and when figures were made: machine, date and commit. A figure without them says nothing to anybody else."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Origin:
    """As a footer shows it."""

    machine: str
    date: str  # UTC
    commit: str


def origin() -> Origin:
    """Of this process, now."""
    return Origin(_machine(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), _commit())


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {names[0] if names else platform.machine()}"


def _commit() -> str:
    head = _git("rev-parse", "--short=10", "HEAD")
    if head is None:
        return "unknown commit"
    return f"{head} with changes" if _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str | None:
    try:
        told = subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            cwd=_ROOT, capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
