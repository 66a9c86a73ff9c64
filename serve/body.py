"""Request bodies: bounded while they stream in, then read as JSON. What the fields mean is `api.py`.

Ray Serve sets no limit on a body, so `BodyLimit` counts bytes as they come and refuses at the first one too many.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .openai_errors import Refusal, bad_value, shown


class BodyTooLarge(Exception):
    """More bytes came than the limit; raised out of `receive`, answered by BodyLimit."""


class BodyLimit:
    """ASGI middleware: 413 as soon as a body is known to be larger than `limit_bytes`."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._declared_bytes(scope) > self.limit_bytes:
            await self._refusal(scope).response()(scope, receive, send)
            return

        received_bytes = 0
        started = False

        async def counted_receive() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self.limit_bytes:
                raise BodyTooLarge
            return message

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted_receive, watched_send)
        except BodyTooLarge:
            if started:
                raise
            await self._refusal(scope).response()(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal:
        hint = " A prompt has at most 4000 characters." if str(scope["path"]).startswith("/v1/images/") else ""
        return Refusal(
            413,
            f"The request body is larger than {self.limit_bytes} bytes.{hint}",
            code="request_too_large",
            headers={"connection": "close"},
        )

    @staticmethod
    def _declared_bytes(scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and len(value) < 20:
                return int(value)
        return 0


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises Refusal: 415 wrong content type, 400 anything that is not an object."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        given = f"not {content_type[:80]!a}" if content_type else "and it is missing"
        raise Refusal(
            415,
            f"Content-Type must be application/json, {given}. With curl, add -H 'Content-Type: application/json'.",
            code="unsupported_media_type",
        )
    raw = await request.body()
    if not raw.strip():
        raise bad_value(None, "The request body is empty; send a JSON object.", code="invalid_json")
    return parse_json_object(raw)


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Strict JSON: UTF-8, no NaN or Infinity, no key twice, an object at the top, of any depth without a crash."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_value(
            None, f"The request body is not valid UTF-8 (byte {error.start}).", code="invalid_json"
        ) from error
    try:
        body = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise bad_value(None, "The request body is nested too deeply.", code="invalid_json") from error
    except json.JSONDecodeError as error:
        raise bad_value(
            None,
            f"The request body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            code="invalid_json",
        ) from error
    except ValueError as error:  # an integer with thousands of digits
        raise bad_value(None, "The request body holds a number that is too long.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise bad_value(None, f"The request body must be a JSON object, not {_json_name(body)}.", code="invalid_json")
    return body


def _refuse_constant(constant: str) -> NoReturn:
    raise bad_value(None, f"The request body holds {constant}, which is not JSON.", code="invalid_json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a key that is given twice: of two values one would be dropped, and nobody would know which was meant."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise bad_value(None, f"The request body has {shown(twice)} twice; give each key once.", code="invalid_json")
    return made


def _json_name(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
