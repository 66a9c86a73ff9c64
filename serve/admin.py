"""Who may use an operator's routes: whoever has the admin key, or, where none is set, callers on this very machine.

Only the key's hash is kept, and compared in constant time. Without a key the address of a connection alone decides,
never a header that a proxy or a caller may set; and a request that came through a proxy, or with the name of another
host (a web page that had its name point here), is none of this machine.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import Request

from .openai_errors import Refusal

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_ACTOR_CHARACTERS = 200
_OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Admin:
    """`open_on_loopback`: the gateway listens on a loopback address only, so that no key is needed there."""

    key_sha256: bytes | None = field(default=None, repr=False)
    open_on_loopback: bool = False

    def check(self, request: Request) -> None:
        """Raises Refusal: 401 without the right key, 403 where a key would have to be set first."""
        if self.key_sha256 is not None:
            given = _bearer(request.headers)
            if given is None or not hmac.compare_digest(hashlib.sha256(given).digest(), self.key_sha256):
                raise Refusal(
                    401,
                    "This route is an operator's: send the admin key as 'Authorization: Bearer ...'.",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )
        elif not (self.open_on_loopback and _is_local(request)):
            raise Refusal(
                403,
                "This route is an operator's. Set SWITCHBOARD_ADMIN_KEY where the gateway is started (python -c "
                "'import secrets; print(secrets.token_hex(16))') and send it as 'Authorization: Bearer ...'; without a "
                "key only this machine may use it, and only while the gateway listens on a loopback address.",
                code="admin_key_not_set",
            )


def admin_of(key: str | None, *, open_on_loopback: bool) -> Admin:
    """With the key's hash in place of the key."""
    return Admin(None if key is None else hashlib.sha256(key.encode()).digest(), open_on_loopback)


def actor_of(request: Request) -> str:
    """Who does it, as x-switchboard-actor says; not proven, it is for the history. Raises Refusal."""
    given = request.headers.get("x-switchboard-actor", _OPERATOR).strip()
    if not (given.isascii() and given.isprintable() and 0 < len(given) <= _ACTOR_CHARACTERS):
        raise Refusal(
            400,
            f"x-switchboard-actor must be 1 to {_ACTOR_CHARACTERS} printable ASCII characters.",
            code="invalid_value",
            param="x-switchboard-actor",
        )
    return given


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _bearer(headers: Headers) -> bytes | None:
    values = headers.getlist("authorization")
    if len(values) != 1:
        return None
    scheme, _, key = values[0].partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _is_local(request: Request) -> bool:
    if request.client is None or not is_loopback(request.client.host):
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    hosts = request.headers.getlist("host")
    return len(hosts) == 1 and is_loopback(_without_port(hosts[0]))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
