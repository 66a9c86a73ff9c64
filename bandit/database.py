"""The connection to the journal's database: SQLite in WAL mode on one machine, PostgreSQL for a cluster.

Every write transaction takes SQLite's write lock when it begins, so that what it read stays true until it commits;
on PostgreSQL the rows that matter are locked one by one. A commit returns after the data is on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .codec import to_text
from .errors import BadJournalUrl, JournalAway
from .tables import metadata

_CREATE_LOCK = 7_263_514_482  # any number, the same for all who create these tables


class Database:
    """Transactions on one engine, from any thread. A database that does not answer raises JournalAway."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shown_url = engine.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all or nothing, durable when the block is left."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view, which waits for no writer on SQLite."""
        options: dict[str, Any] = {"read_only": True}
        if self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"  # else each statement of the block has a view of its own
        with self._translated(), self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            if is_away(error):
                cause = getattr(error, "orig", None) or error
                raise JournalAway(f"{self.shown_url} does not answer: {cause}. It is safe to try again.") from error
            raise


def open_database(url: str, *, busy_timeout_s: float) -> Database:
    """Connect and create the tables that are missing. Raises BadJournalUrl or JournalAway."""
    parsed = _parsed(url)
    try:
        engine = _engine(parsed, busy_timeout_s)
    except ModuleNotFoundError as error:
        raise BadJournalUrl(
            f"{parsed.render_as_string(hide_password=True)} needs the package {error.name}; "
            "install psycopg[binary], or use sqlite:///path/to/file.db"
        ) from error
    database = Database(engine)
    if engine.dialect.name == "sqlite":
        _enter_wal_mode(database, busy_timeout_s)
    with database.write() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATE_LOCK})
        metadata.create_all(connection)
        _check_layout(connection, database.shown_url)
        for table in metadata.sorted_tables:
            for index in table.indexes:
                index.create(connection, checkfirst=True)  # create_all adds none to a table that is there already
    return database


def _check_layout(connection: Connection, shown_url: str) -> None:
    """Refuse tables of another version, whose missing columns would look like a database that is away for ever."""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        missing = {column.name for column in table.columns} - {c["name"] for c in inspector.get_columns(table.name)}
        if missing:
            raise BadJournalUrl(
                f"{shown_url} holds a journal of another version: table {table.name} has no column "
                f"{', '.join(sorted(missing))}; move it away, and a new one is made"
            )


def _parsed(url: str) -> URL:
    allowed = "allowed: sqlite:///path/to/file.db, postgresql+psycopg://user@host/name"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadJournalUrl(f"the journal's URL cannot be read; {allowed}") from error
    shown = parsed.render_as_string(hide_password=True)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if not parsed.database or parsed.database == ":memory:" or "mode=memory" in parsed.database:
            raise BadJournalUrl(f"{shown} lives in memory and would be lost; {allowed}")
    elif parsed.drivername != "postgresql+psycopg":
        raise BadJournalUrl(f"{shown} is not a kind of database that can hold the journal; {allowed}")
    return parsed


def _engine(url: URL, busy_timeout_s: float) -> Engine:
    common: dict[str, Any] = {"json_serializer": to_text}
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, connect_args={"timeout": busy_timeout_s}, **common)
            event.listen(engine, "connect", partial(_on_sqlite_connect, busy_timeout_s=busy_timeout_s))
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5}, **common)
    except NoSuchModuleError as error:
        raise BadJournalUrl(f"{url.render_as_string(hide_password=True)}: {error}") from error


def _on_sqlite_connect(connection: Any, _record: object, *, busy_timeout_s: float) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _enter_wal_mode(database: Database, patience_s: float) -> None:
    """WAL is a property of the file. Entering it does not wait for other connections, so this does."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            with database._translated(), database.engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                if raw.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                    return
                try:
                    raw.execute("PRAGMA journal_mode = WAL")
                except database.engine.dialect.loaded_dbapi.OperationalError as error:
                    raise JournalAway(f"{database.shown_url} is locked or cannot be written: {error}") from error
        except JournalAway:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.02)


def is_away(error: Exception) -> bool:
    """Whether the database did not answer, rather than refuse what it was sent."""
    if not isinstance(error, DBAPIError | PoolTimeout):
        return False
    if isinstance(error, PoolTimeout) or error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError)
