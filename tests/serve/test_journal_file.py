from __future__ import annotations

from pathlib import Path

from bandit.journal import Journal
from serve.journal_file import make_private


def test_journal_and_its_wal_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "sub/journal.db"
    make_private(f"sqlite:///{path}")
    journal = Journal.open(f"sqlite:///{path}")
    with journal.write():
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    journal.close()
    assert {"journal.db", "journal.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_make_private_leaves_what_exists_and_what_is_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"kept")
    path.chmod(0o644)
    make_private(f"sqlite:///{path}")
    make_private("postgresql+psycopg://user@host/name")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"kept", 0o644)
