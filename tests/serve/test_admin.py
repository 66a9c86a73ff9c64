from __future__ import annotations

import hashlib

import pytest
from starlette.requests import Request

from serve.admin import Admin, actor_of, admin_of, is_loopback
from serve.openai_errors import Refusal

KEY = "correct-horse-battery-staple"


def request(*headers: tuple[str, str], client: tuple[str, int] | None = ("127.0.0.1", 5000)) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "headers": raw, "client": client, "method": "GET", "path": "/"})


def refusal(admin: Admin, asked: Request) -> Refusal:
    with pytest.raises(Refusal) as caught:
        admin.check(asked)
    assert KEY not in caught.value.message
    return caught.value


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_check_takes_the_key(scheme: str) -> None:
    admin_of(KEY, open_on_loopback=False).check(request(("authorization", f"{scheme} {KEY}")))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Bearer {KEY}x"),),
        (("authorization", f"Bearer {KEY[:-1]}"),),
        (("authorization", f"Basic {KEY}"),),
        (("authorization", KEY),),
        (("authorization", f"Bearer {KEY}"), ("authorization", "Bearer other")),
        (("authorization", "Bearer " + "x" * 100_000),),
        (("authorization", "Bearer \xe9\xff"),),
        (("authorization", "Bearer " + hashlib.sha256(KEY.encode()).hexdigest()),),
    ],
)
def test_check_refuses_all_but_the_key_also_on_this_machine(headers: tuple[tuple[str, str], ...]) -> None:
    told = refusal(admin_of(KEY, open_on_loopback=True), request(*headers, ("host", "localhost:8000")))
    assert (told.status, told.code, told.headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000"])
def test_check_without_a_key_lets_this_machine_in(host: str) -> None:
    admin_of(None, open_on_loopback=True).check(request(("host", host)))


@pytest.mark.parametrize(
    ("asked", "open_on_loopback"),
    [
        (request(("host", "localhost")), False),
        (request(("host", "localhost"), client=("10.0.0.7", 5000)), True),
        (request(("host", "localhost"), client=None), True),
        (request(("host", "localhost"), ("x-forwarded-for", "127.0.0.1"), client=("10.0.0.7", 5000)), True),
        (request(("host", "localhost"), ("x-forwarded-for", "127.0.0.1")), True),
        (request(("host", "localhost"), ("forwarded", "for=127.0.0.1")), True),
        (request(("host", "evil.example:8000")), True),
        (request(("host", "127.0.0.1.evil.example")), True),
        (request(), True),
        (request(("host", "localhost"), ("host", "evil.example")), True),
        (request(("host", "localhost"), ("authorization", "Bearer none"), client=("10.0.0.7", 1)), True),
    ],
)
def test_check_without_a_key_refuses_everybody_else_and_says_what_to_set(
    asked: Request, open_on_loopback: bool
) -> None:
    told = refusal(admin_of(None, open_on_loopback=open_on_loopback), asked)
    assert (told.status, told.code) == (403, "admin_key_not_set")
    assert "SWITCHBOARD_ADMIN_KEY" in told.message


def test_admin_shows_neither_key_nor_hash() -> None:
    admin = admin_of(KEY, open_on_loopback=False)
    assert admin.key_sha256 == hashlib.sha256(KEY.encode()).digest()
    assert KEY not in repr(admin)
    assert "sha256" not in repr(admin)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("localhost.example", False),  # noqa: S104
        ("127.0.0.1.example", False),
    ],
)  # fmt: skip
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_actor_of_is_what_the_header_says() -> None:
    assert actor_of(request()) == "operator"
    assert actor_of(request(("x-switchboard-actor", "alice"))) == "alice"


@pytest.mark.parametrize("actor", ["", " ", "x" * 201, "a\x01b", "\xe9"])
def test_actor_of_refuses_what_no_history_should_show(actor: str) -> None:
    with pytest.raises(Refusal, match="x-switchboard-actor"):
        actor_of(request(("x-switchboard-actor", actor)))
