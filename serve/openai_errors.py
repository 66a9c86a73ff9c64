"""Errors as the OpenAI API words them: {"error": {"message", "type", "param", "code"}}.

    Refusal      a request that is not served, with its HTTP status, its words, and whether trying again can help

The official client retries 408, 409, 429 and every 5xx by itself; `x-should-retry: false` stops it where the same
request would be refused again.
"""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import JSONResponse

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SHOWN_CHARS = 60


class Refusal(Exception):
    """A request that is answered with an error. `retryable`: the same request may succeed later."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: float | None = None,
        retryable: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer to send."""
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if not self.retryable:
            headers["x-should-retry"] = "false"
        return JSONResponse(self.body(), status_code=self.status, headers=headers)

    def body(self) -> dict[str, Any]:
        """The JSON envelope."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad_value(param: str | None, message: str, code: str = "invalid_value") -> Refusal:
    """400: one field holds something that is not allowed."""
    return Refusal(400, message, code=code, param=param)


def overloaded(message: str, retry_after_s: float = 1.0) -> Refusal:
    """429: every tier that may serve this is full."""
    return Refusal(429, message, code="overloaded", retry_after_s=retry_after_s, retryable=True)


def unavailable(message: str, code: str, retry_after_s: float = 2.0) -> Refusal:
    """503: nothing can serve this now."""
    return Refusal(503, message, code=code, retry_after_s=retry_after_s, retryable=True)


def shown(value: object) -> str:
    """A value as an error message shows it: in JSON's words, short, plain ASCII, never a whole prompt."""
    try:
        text = ascii(value) if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... ({len(text)} characters)"
