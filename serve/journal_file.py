"""The file of a SQLite journal, made before anybody opens it, so that its owner alone can read it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import make_url


def make_private(journal_url: str) -> None:
    """Make an empty file that only its owner may read, where there is none; SQLite gives its WAL the same mode.

    A file that exists keeps its mode: who opened it to others meant it. Other databases are left alone.
    """
    url = make_url(journal_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
