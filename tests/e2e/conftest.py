"""A real local Ray with fake tiers, started once a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bandit.journal import Journal
from serve.catalogue import parse_catalogue
from serve.settings import Settings
from tests.e2e.cluster import CATALOGUE, Served, free_port


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """All applications on a Ray of their own."""
    from serve.local import running

    directory = Path(tempfile.mkdtemp(prefix="sb-"))  # short: Ray puts sockets there, whose paths are limited
    path = directory / "journal.db"
    settings = Settings(port=free_port(), journal_url=f"sqlite:///{path}")
    try:
        with running(parse_catalogue(CATALOGUE, "e2e.yaml"), settings, directory / "ray", print) as url:
            journal = Journal.open(f"sqlite:///{path}")
            yield Served(url, journal, path)
            journal.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
