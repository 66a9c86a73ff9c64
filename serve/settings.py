"""The one file that reads the environment: where things are on this machine. What is served is the catalogue's.

    SWITCHBOARD_CATALOGUE          path of the catalogue            the embedded one
    SWITCHBOARD_JOURNAL_URL        SQLAlchemy URL of the journal    the catalogue's
    SWITCHBOARD_HOST, _PORT        where `up` listens               127.0.0.1, 8000
    SWITCHBOARD_URL                where `generate`, `status` ask   http://127.0.0.1:8000
    SWITCHBOARD_KEEP_PROMPTS       1: raw prompts go to the journal 0: counts, and keyed hashes of prompt and words
    SWITCHBOARD_SALT               salt of those hashes             kept in a file beside a SQLite journal
    SWITCHBOARD_ADMIN_KEY          who has it changes experiments   only this machine may, if `up` listens on loopback

An admin key has at least 16 characters; take 128 random bits: python -c 'import secrets; print(secrets.token_hex(16))'

Replicas get these as values from `app.py`; only a process that somebody started by hand reads them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .errors import BadSettings

_PREFIX = "SWITCHBOARD_"
_SECRET = frozenset({"admin_key", "journal_url", "salt", "url"})  # a URL may hold a password: none is ever shown
_BAD_ADMIN_KEY = (
    "SWITCHBOARD_ADMIN_KEY cannot be used: it must have 16 to 200 printable ASCII characters and no space. Make one "
    "with python -c 'import secrets; print(secrets.token_hex(16))'"
)


class Settings(BaseModel):
    """Frozen values of one installation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalogue: Path | None = None  # None: the embedded catalogue
    journal_url: str | None = None  # None: the catalogue's
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    url: str = "http://127.0.0.1:8000"
    keep_prompts: bool = False
    salt: str | None = None  # None: `salt_beside` keeps one beside a SQLite journal
    admin_key: Annotated[str | None, Field(pattern=r"^[!-~]{16,200}$", repr=False)] = None


def from_environment(environ: Mapping[str, str] | None = None, **given: object) -> Settings:
    """Settings from SWITCHBOARD_* variables; `given` values that are not None go before them. Raises BadSettings."""
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {
        name: environ[_PREFIX + name.upper()] for name in Settings.model_fields if environ.get(_PREFIX + name.upper())
    }
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if name == "admin_key":
            raise BadSettings(_BAD_ADMIN_KEY) from None  # the error's own text shows the key
        given_value = "not usable" if name in _SECRET else repr(first["input"])
        raise BadSettings(f"{_PREFIX}{name.upper()} is {given_value}: {first['msg']}") from error


def absolute_journal_url(journal_url: str) -> str:
    """A SQLite path made absolute, so that replicas with another working directory mean the same file."""
    try:
        url = make_url(journal_url)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise BadSettings(
            "the journal URL (not shown, as it may hold a password) is no SQLAlchemy URL; "
            "write sqlite:///file.db or postgresql+psycopg://user@host/database"
        ) from error
    if backend != "sqlite":
        return journal_url
    if not url.database or url.database == ":memory:" or url.host or url.username:
        raise BadSettings("the journal URL names no file; a journal in memory would be lost; write sqlite:///file.db")
    return url.set(database=str(Path(url.database).expanduser().absolute())).render_as_string(hide_password=False)


def salt_beside(journal_url: str) -> bytes:
    """The salt of prompt and caller hashes, made once, in a file beside a SQLite journal. Raises BadSettings."""
    url = make_url(journal_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise BadSettings(
            "SWITCHBOARD_SALT is not set; every gateway of a shared journal needs the same one: "
            "python -c 'import secrets; print(secrets.token_hex(16))'"
        )
    path = Path(url.database + ".salt")
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    return path.read_bytes()
