from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from serve.client import Client, FolderNotUsable, RequestFailed, save_images, usable_folder
from serve.errors import BadSettings


class Answers(BaseHTTPRequestHandler):
    status = 200
    body = b"{}"
    location: str | None = None
    asked: ClassVar[list[tuple[str, str | None, str | None]]] = []  # path, authorization, actor

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["authorization"], self.headers["x-switchboard-actor"]))
        moved = self.location is not None and self.path != self.location
        self.send_response(302 if moved else self.status)
        if moved:
            self.send_header("Location", str(self.location))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def answer(*images: bytes) -> dict[str, object]:
    return {
        "data": [{"b64_json": base64.b64encode(image).decode()} for image in images],
        "output_format": "png",
        "switchboard": {"decision_id": "dec_0123456789abcdef"},
    }


def test_save_images_names_files_after_prompt_and_decision(tmp_path: Path) -> None:
    assert [path.name for path in save_images(answer(b"x"), "Two cats!", tmp_path)] == ["two-cats-89abcdef.png"]
    paths = save_images(answer(b"x", b"y"), "../../etc/passwd", tmp_path / "new")
    assert [path.name for path in paths] == ["etc-passwd-89abcdef-1.png", "etc-passwd-89abcdef-2.png"]
    assert [path.read_bytes() for path in paths] == [b"x", b"y"]
    assert save_images(answer(b"x"), "🐈🐈", tmp_path)[0].name == "image-89abcdef.png"


def test_save_images_never_overwrites(tmp_path: Path) -> None:
    save_images(answer(b"first"), "two cats", tmp_path)
    with pytest.raises(FolderNotUsable, match="exists"):
        save_images(answer(b"second"), "two cats", tmp_path)


def test_get_tells_the_message_of_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 400)
    monkeypatch.setattr(Answers, "body", json.dumps({"error": {"message": "n must be 1 to 10"}}).encode())
    with pytest.raises(RequestFailed, match="400: n must be 1 to 10"):
        Client(url).get("/x")
    monkeypatch.setattr(Answers, "body", b"<html>")
    with pytest.raises(RequestFailed, match="html"):
        Client(url).get("/x")


def test_get_takes_the_health_of_a_gateway_that_is_down(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 503)
    monkeypatch.setattr(Answers, "body", json.dumps({"status": "down", "tiers": {}}).encode())
    assert Client(url).get("/healthz")["status"] == "down"


def test_client_sends_key_and_actor_to_whom_it_asks_and_no_further(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "asked", [])
    monkeypatch.setattr(Answers, "location", "/elsewhere")
    Client(url, admin_key="k" * 16, actor="alice").get("/x")
    assert Answers.asked == [("/x", "Bearer " + "k" * 16, "alice"), ("/elsewhere", None, None)]


@pytest.mark.parametrize("body", [b"<html>", b"[1]"])
def test_get_of_something_else_says_so(url: str, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(Answers, "body", body)
    with pytest.raises(RequestFailed, match="as a gateway does"):
        Client(url).get("/x")


@pytest.mark.parametrize(
    "given", ["notaurl", "", "ftp://h", "http://", "http://h:port", "http://h:99999", "http://a b"]
)
def test_client_refuses_what_is_no_url(given: str) -> None:
    with pytest.raises(BadSettings, match="SWITCHBOARD_URL"):
        Client(given)


def test_client_never_shows_a_password() -> None:
    with pytest.raises(BadSettings) as caught:
        Client("http://me:sekret@h")
    assert "sekret" not in str(caught.value)


def test_usable_folder_is_made_and_may_be_no_file(tmp_path: Path) -> None:
    assert usable_folder(tmp_path / "a/b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderNotUsable, match=r"--folder .*file"):
        usable_folder(tmp_path / "file")


def test_get_from_nobody_says_what_to_do() -> None:
    with pytest.raises(RequestFailed, match="serve up"):
        Client("http://127.0.0.1:9").get("/healthz")
