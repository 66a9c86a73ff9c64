"""A small client of the HTTP API for the command line: standard library only, errors in one sentence."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ServeError

_TIMEOUT_S = 300.0


class RequestFailed(ServeError):
    """No answer, or an answer that says no; the message is meant for people."""


class Client:
    """Talks to one gateway."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str) -> dict[str, Any]:
        """The JSON at a path. A 503 of /healthz is an answer too."""
        return self._send(urllib.request.Request(self.url + path))  # noqa: S310 - the user's own URL

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON answer to a JSON body."""
        return self._send(
            urllib.request.Request(  # noqa: S310 - as above
                self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
        )

    def _send(self, request: urllib.request.Request) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raw = error.read()
            try:
                body = json.loads(raw)
            except ValueError:
                body = {}
            if "status" in body and "tiers" in body:
                return body
            message = body.get("error", {}).get("message") or raw[:200].decode(errors="replace")
            raise RequestFailed(f"{self.url} answered {error.code}: {message}") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise RequestFailed(f"{self.url} does not answer ({reason}). Is it up? python -m serve up") from error


def save_images(answer: Mapping[str, Any], prompt: str, folder: Path) -> list[Path]:
    """Write the images of an answer as <prompt>-<id>[-i].<format>, never over a file that is there."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or "image"
    stem = f"{words}-{answer['switchboard']['decision_id'][-8:]}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for position, image in enumerate(answer["data"]):
        suffix = f"-{position + 1}" if len(answer["data"]) > 1 else ""
        path = folder / f"{stem}{suffix}.{answer['output_format']}"
        with path.open("xb") as file:
            file.write(base64.b64decode(image["b64_json"]))
        paths.append(path)
    return paths
