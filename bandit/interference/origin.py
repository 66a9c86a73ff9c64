"""Where and when figures were made: machine, date and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def origin() -> dict[str, str]:
    """Of this process, now. The commit says so where these files differ from it."""
    head = _git("rev-parse", "--short=10", "HEAD")
    if head is not None and _git("status", "--porcelain", "--", "."):
        head += " with changes"
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores of {_processor()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": head or "unknown",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        told = subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            cwd=_HERE, capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
