"""The web page as a stranger meets it: what it may read, how much it takes, where it listens."""

from __future__ import annotations

import inspect
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from maskwise.commands.serve import serve_command
from maskwise.images import packaged_pictures
from maskwise.web import app as web
from maskwise.web import server
from maskwise.web.pictures import MAX_BYTES
from maskwise.web.waiting_line import WAITING


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page's address and the folder of its temporary files."""
    scratch = tmp_path_factory.mktemp("page")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    with (scratch / "log").open("w") as log:
        command = [sys.executable, "-m", "maskwise", "serve", "--port", str(port)]
        running = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(scratch)})
    try:
        for _ in range(500):
            try:
                urllib.request.urlopen(address, timeout=2).close()
                break
            except OSError:
                assert running.poll() is None, (scratch / "log").read_text()
                time.sleep(0.5)
        yield address, scratch
    finally:
        running.terminate()
        running.wait(20)


def status(address: str, data: bytes | None = None, kind: str = "application/json") -> int:
    request = urllib.request.Request(address, data, {"Content-Type": kind} if data is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def uploaded(address: str, data: bytes) -> tuple[int, str]:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../mine.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}/gradio_api/upload", head + data + b"\r\n--x--\r\n", kind)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), str(json.load(answer)[0])
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_files_of_the_machine_are_not_given_out(served: tuple[str, Path]) -> None:
    address, scratch = served
    (scratch / "secret.txt").write_text("secret")
    for path in ("/etc/passwd", str(scratch / "secret.txt"), str(scratch / "log"), str(Path(web.__file__))):
        for route in ("gradio_api/file=", "file=", "gradio_api/file=/", "gradio_api/proxy="):
            found = status(f"{address}/{route}{urllib.parse.quote(path)}")
            assert found in (400, 403, 404, 405), (route, path, found)


def test_an_upload_touches_no_disk_and_its_name_can_not_be_guessed(served: tuple[str, Path]) -> None:
    """A name that climbs leads nowhere, since it is not used; the one that stands for the upload is random."""
    address, scratch = served
    (scratch / "secret.txt").write_text("secret")
    code, path = uploaded(address, b"mine")
    assert code == 200
    again = uploaded(address, b"mine")[1]
    assert path != again and all(re.fullmatch("[0-9a-f]{32}", token) for token in (path, again))
    (private,) = scratch.glob("maskwise-*")
    assert private.stat().st_mode & 0o077 == 0
    own = {picture.name for picture in packaged_pictures()}
    assert {p.name for p in scratch.rglob("*") if p.is_file()} == {*own, "log", "secret.txt"}
    for place in (str(private), path):
        assert status(f"{address}/gradio_api/file={urllib.parse.quote(place)}") in (400, 403, 404)


def test_too_large_an_upload(served: tuple[str, Path]) -> None:
    address, scratch = served
    code, _ = uploaded(address, bytes(MAX_BYTES + 1_000_000))
    assert code in (400, 413)
    large = [p for p in scratch.glob("maskwise-*/**/*") if p.is_file() and p.stat().st_size > MAX_BYTES]
    assert not large


def test_no_event_is_an_api(served: tuple[str, Path]) -> None:
    address, _ = served
    with urllib.request.urlopen(f"{address}/gradio_api/info", timeout=30) as answer:
        info = json.load(answer)
    assert not info["named_endpoints"] and not info["unnamed_endpoints"]


def test_settings() -> None:
    default = inspect.signature(serve_command).parameters["host"].default
    assert default == "127.0.0.1"
    source = inspect.getsource(server.application)
    for setting in ("max_file_size=MAX_BYTES", "enable_monitoring=False", "mcp_server=False", "show_error=False"):
        assert setting in source
    assert "share" not in source, "mounted by us, it has no tunnel that could be opened"
    page = web.page(["efficientnet_lite0"])
    try:
        assert page.blocks._queue.max_size == 2 * WAITING and page.blocks.state_session_capacity == web.SESSIONS
        assert page.blocks.max_threads == page.blocks._queue.max_thread_count == 2 * WAITING
        assert not page.blocks.share and len(packaged_pictures()) > 0
    finally:
        page.line.close()
