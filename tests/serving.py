"""``maskwise serve`` as a process of its own, and visitors that speak to it as a browser does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

API = "/gradio_api"
TOP = "its top class"


@dataclass
class Served:
    """A running server.

    Attributes:
        address: of the page.
        scratch: the folder of its temporary files; ``log`` is beside it.
        process: itself.
    """

    address: str
    scratch: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it wrote."""
        return self.scratch.with_suffix(".log").read_text()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def served(scratch: Path, *options: str) -> Iterator[Served]:
    """The command itself, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "maskwise", "serve", "--port", str(port), *options]
    environment = {**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    with scratch.with_suffix(".log").open("w") as out:
        running = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    server = Served(f"http://127.0.0.1:{port}", scratch, running)
    try:
        for _ in range(240):
            try:
                httpx.get(server.address, timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                assert running.poll() is None, server.log
                time.sleep(0.5)
        yield server
    finally:
        running.terminate()
        running.wait(30)


class Visitor:
    """One browser: keeps its cookie, knows the page's events by name, and reads their streams.

    Args:
        server: whom it visits.
        session: of its tab.
    """

    def __init__(self, server: Served, session: str) -> None:
        self.session = session
        self.client = httpx.Client(base_url=server.address, timeout=60)
        self.client.get("/").raise_for_status()
        config = self.client.get("/config").json()
        self.defaults = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        names = {number: name for name, number in self.defaults.items()}
        self.events = {
            (names.get(target[0]), target[1]): number
            for number, event in enumerate(config["dependencies"])
            for target in event["targets"]
            if event["backend_fn"]  # others are the browser's alone
        }

    def send(self, content: bytes, name: str = "picture.png") -> httpx.Response:
        """An upload."""
        return self.client.post(f"{API}/upload", files={"files": (name, content)})

    def join(self, event: tuple[str, str], data: list[Any], **more: Any) -> httpx.Response:
        """Begins an event; what comes of it is read by ``said``."""
        body = {"data": data, "fn_index": self.events[event], "session_hash": self.session, **more}
        return self.client.post(f"{API}/queue/join", json=body)

    def cancel(self) -> httpx.Response:
        """Presses Cancel."""
        body = {"data": [], "fn_index": self.events["stop", "click"], "session_hash": self.session}
        return self.client.post(f"{API}/run/predict", json=body)

    def said(self) -> Iterator[dict[str, Any]]:
        """The messages of a stream, to its end."""
        with self.client.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as stream:
            stream.raise_for_status()
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def asked(self, event: tuple[str, str], data: list[Any], **more: Any) -> list[str]:
        """All that an event put on the page, as texts, in the order it came."""
        mine = self.join(event, data, **more).raise_for_status().json()["event_id"]
        shown = []
        for message in self.said():
            if message.get("event_id") != mine:
                continue
            if message["msg"] in ("process_generating", "process_completed"):
                assert message["success"], message
                shown.append(json.dumps(message["output"].get("data")))
            if message["msg"] == "process_completed":
                break
        return shown

    def drop(self, content: bytes, classifier: str = "efficientnet_lite0") -> list[str]:
        """Sends a picture and has the page look at it."""
        token = self.send(content).raise_for_status().json()[0]
        picture = {"path": token, "meta": {"_type": "gradio.FileData"}}
        return self.asked(("drop", "upload"), [picture, None, classifier, TOP])

    def example(self, index: int, classifier: str = "efficientnet_lite0") -> list[str]:
        """Chooses one of the page's own pictures."""
        return self.asked(("examples", "select"), [None, classifier, TOP], event_data={"index": index})


def form(
    methods: list[str],
    sess: bool = False,
    scales: float = 6,
    prefilter: float = 0.9,
    options: str = "",
    target: str = TOP,
) -> list[Any]:
    """What the page sends when Explain is pressed."""
    return [None, "efficientnet_lite0", methods, target, sess, scales, prefilter, False, options]
