"""A small client of the HTTP API for the command line: standard library only, errors in one sentence."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import BadSettings, ServeError

_TIMEOUT_S = 300.0


class RequestFailed(ServeError):
    """No answer, or an answer that says no; the message is meant for people."""


class FolderNotUsable(ServeError):
    """Images cannot be saved there; the message says why."""


class Client:
    """Talks to one gateway."""

    def __init__(self, url: str, *, admin_key: str | None = None, actor: str | None = None) -> None:
        """`admin_key` and `actor` are sent with every request. Raises BadSettings for what is no http URL."""
        try:
            parts = urllib.parse.urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or "@" in url or any(character.isspace() for character in url):
            shown = "" if "@" in url else f" {url!r}"  # it may hold a password
            raise BadSettings(f"--url or SWITCHBOARD_URL{shown} is no URL of a gateway; write http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self._headers: dict[str, str] = {}
        if admin_key is not None:
            self._headers["Authorization"] = f"Bearer {admin_key}"
        if actor is not None:
            self._headers["X-Switchboard-Actor"] = actor

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
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)  # a key goes to who was asked, and no further
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            raw = error.read()
            try:
                refusal = json.loads(raw)
            except ValueError:
                refusal = {}
            body = refusal if isinstance(refusal, dict) else {}
            if "status" in body and "tiers" in body:
                return body
            message = _message_in(body.get("error")) or raw[:200].decode(errors="replace")
            raise RequestFailed(f"{self.url} answered {error.code}: {message}") from error
        except (ValueError, http.client.HTTPException) as error:
            raise RequestFailed(f"{self.url} does not answer as a gateway does ({type(error).__name__})") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise RequestFailed(f"{self.url} does not answer ({reason}). Is it up? python -m serve up") from error
        if not isinstance(body, dict):
            raise RequestFailed(f"{self.url} does not answer as a gateway does (no JSON object)")
        return body


def _message_in(error: object) -> str | None:
    return str(error["message"]) if isinstance(error, dict) and error.get("message") else None


def usable_folder(folder: Path) -> Path:
    """The folder, made where it is missing. Raises FolderNotUsable: better before an image is paid for than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderNotUsable(f"--folder {folder} cannot be a folder: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderNotUsable(f"--folder {folder}: nothing can be written there")
    return folder


def save_images(answer: Mapping[str, Any], prompt: str, folder: Path) -> list[Path]:
    """Write the images of an answer as <prompt>-<id>[-i].<format>, never over a file that is there.

    Raises FolderNotUsable.
    """
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or "image"
    stem = f"{words}-{answer['switchboard']['decision_id'][-8:]}"
    usable_folder(folder)
    paths = []
    for position, image in enumerate(answer["data"]):
        suffix = f"-{position + 1}" if len(answer["data"]) > 1 else ""
        path = folder / f"{stem}{suffix}.{answer['output_format']}"
        try:
            with path.open("xb") as file:
                file.write(base64.b64decode(image["b64_json"]))
        except OSError as error:
            raise FolderNotUsable(f"{path} cannot be written: {error.strerror or error}") from error
        paths.append(path)
    return paths
