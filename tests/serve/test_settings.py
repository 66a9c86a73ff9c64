from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from serve.errors import BadSettings
from serve.settings import absolute_journal_url, from_environment, salt_beside


def test_from_environment_reads_variables_and_lets_given_values_win() -> None:
    environ = {"SWITCHBOARD_PORT": "9000", "SWITCHBOARD_HOST": "::1", "SWITCHBOARD_KEEP_PROMPTS": "1", "PORT": "1"}
    settings = from_environment(environ, port=9001, catalogue=None)
    assert (settings.port, settings.host, settings.keep_prompts, settings.catalogue) == (9001, "::1", True, None)


def test_from_environment_without_variables_listens_on_loopback_and_keeps_no_prompts() -> None:
    settings = from_environment({})
    assert (settings.host, settings.port, settings.keep_prompts, settings.salt) == ("127.0.0.1", 8000, False, None)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_from_environment_refuses_what_is_no_port_and_names_the_variable(port: str) -> None:
    with pytest.raises(BadSettings, match="SWITCHBOARD_PORT"):
        from_environment({"SWITCHBOARD_PORT": port})


def test_absolute_journal_url_means_the_same_file_from_every_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_journal_url("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert absolute_journal_url("sqlite:////x/b.db") == "sqlite:////x/b.db"
    assert absolute_journal_url("postgresql+psycopg://u:p@h/d") == "postgresql+psycopg://u:p@h/d"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "switchboard.db", "", "sqlite://h/x"])
def test_absolute_journal_url_refuses_what_is_no_file(url: str) -> None:
    with pytest.raises(BadSettings):
        absolute_journal_url(url)


@pytest.mark.parametrize("url", ["me:sekret@h", "postgresql://me:sekret@h:port/d", "sqlite://me:sekret@h/x"])
def test_absolute_journal_url_never_shows_a_password(url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        absolute_journal_url(url)
    assert "sekret" not in str(caught.value)


def test_from_environment_never_shows_a_password() -> None:
    with pytest.raises(BadSettings, match="SWITCHBOARD_JOURNAL_URL") as caught:
        from_environment({}, journal_url=b"postgresql://me:sekret@h/\xff")
    assert "sekret" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["short-sekret", "x" * 15, "sekret with spaces in it", "sekret" * 40, "sekretsekretsekr\u00e9t"]
)
def test_from_environment_refuses_a_weak_admin_key_and_shows_none(key: str) -> None:
    with pytest.raises(BadSettings, match="SWITCHBOARD_ADMIN_KEY cannot be used") as caught:
        from_environment({"SWITCHBOARD_ADMIN_KEY": key})
    shown = "".join(traceback.format_exception(caught.value))
    assert key not in shown


def test_from_environment_keeps_the_admin_key_out_of_what_is_printed() -> None:
    settings = from_environment({"SWITCHBOARD_ADMIN_KEY": "sekretsekretsekret"})
    assert settings.admin_key == "sekretsekretsekret"
    assert "sekret" not in repr(settings)
    assert "sekret" not in str(settings)


def test_salt_beside_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sub/journal.db"
    salt = salt_beside(url)
    assert len(salt) >= 16
    assert salt_beside(url) == salt
    assert (tmp_path / "sub/journal.db.salt").stat().st_mode & 0o777 == 0o600


def test_salt_beside_a_shared_database_has_to_be_given() -> None:
    with pytest.raises(BadSettings, match="SWITCHBOARD_SALT"):
        salt_beside("postgresql+psycopg://u@h/d")
