"""Fifty visitors at once on ``maskwise serve``: each drops a picture and presses Explain, again and again.

Prints how many jobs were done, how many were politely refused (the queue was full), errors, latency, and the server's
memory, sampled each second. Ends with 1 where anything was an error or memory passed the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

API = "/gradio_api"
PICTURE = Path(__file__).parents[1] / "src" / "maskwise" / "assets" / "pictures" / "cat.jpg"


@dataclass
class Count:
    """What the visitors saw; latencies in seconds from the press of the button."""

    done: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Refused(Exception):  # noqa: N818
    """The queue was full, and the page said so."""


@dataclass(frozen=True)
class Page:
    """The page's two events, and what its form holds."""

    dropped: int
    explain: int

    @classmethod
    def read(cls, config: dict[str, Any]) -> Page:
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        at = {
            (target[0], target[1]): number
            for number, event in enumerate(config["dependencies"])
            for target in event["targets"]
        }
        return cls(at[ids["drop"], "upload"], at[ids["go"], "click"])


async def call(client: httpx.AsyncClient, session: str, number: int, data: list[Any]) -> list[Any]:
    """One event, waited for to its end; the last thing that it put on the page."""
    body = {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
    joined = await client.post(f"{API}/queue/join", json=body)
    if joined.status_code in (429, 503):
        raise Refused(joined.text)
    joined.raise_for_status()
    async with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        stream.raise_for_status()
        async for line in stream.aiter_lines():
            if not line.startswith("data:"):
                continue
            said = json.loads(line[5:])
            if said["msg"] == "queue_full":
                raise Refused
            if said["msg"] in ("unexpected_error", "server_stopped"):
                raise RuntimeError(line)
            if said["msg"] == "process_completed":
                if not said["success"]:
                    raise RuntimeError(line[:300])
                output: list[Any] = said["output"].get("data", [])
                return output
    raise RuntimeError("the stream ended early")


async def visitor(address: str, page: Page, until: float, number: int, count: Count) -> None:
    visit = 0
    async with httpx.AsyncClient(base_url=address, timeout=300) as client:
        while time.monotonic() < until:
            visit += 1
            session = f"load{number}x{visit}"
            try:
                sent = await client.post(f"{API}/upload", files={"files": ("cat.jpg", PICTURE.read_bytes())})
                sent.raise_for_status()
                picture = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
                await call(client, session, page.dropped, [picture, "efficientnet_lite0"])
                pressed = time.monotonic()
                form = [None, "efficientnet_lite0", ["grad_cam"], "its top class", False, 6, 0.9, False]
                await call(client, session, page.explain, form)
                count.done += 1
                count.latencies.append(time.monotonic() - pressed)
            except Refused:
                count.refused += 1
                await asyncio.sleep(1)
            except (httpx.HTTPError, RuntimeError, KeyError, ValueError) as error:
                count.errors.append(f"{type(error).__name__}: {str(error)[:300]}")
                await asyncio.sleep(1)


def resident(process: int) -> int:
    """Memory in use, in bytes, of a Linux process."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split(None, 1)[0]) * 1024


async def sampled(process: int, samples: list[int]) -> None:
    while True:
        samples.append(resident(process))
        await asyncio.sleep(1)


async def drive(address: str, clients: int, seconds: float, process: int) -> tuple[Count, list[int]]:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        page = Page.read((await client.get("/config")).json())
    count, samples = Count(), list[int]()
    warm = Count()
    await visitor(address, page, time.monotonic() + 0.01, 10**6, warm)  # what a first job loads is not growth
    if warm.errors:
        raise SystemExit(f"the first visit failed: {warm.errors}")
    watch = asyncio.create_task(sampled(process, samples))
    until = time.monotonic() + seconds
    await asyncio.gather(*(visitor(address, page, until, n, count) for n in range(clients)))
    watch.cancel()
    return count, samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bound", type=float, default=2048, help="MB that the server may grow by")
    asked = parser.parse_args()
    with socket.socket() as free, tempfile.TemporaryDirectory() as scratch:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        log = Path(scratch) / "log"
        with log.open("w") as out:
            command = [
                sys.executable,
                "-m",
                "maskwise",
                "serve",
                "--port",
                str(port),
                "--classifier",
                "efficientnet_lite0",
            ]
            server = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "TMPDIR": scratch})
        address = f"http://127.0.0.1:{port}"
        try:
            wait(address, server)
            count, samples = asyncio.run(drive(address, asked.clients, asked.seconds, server.pid))
        finally:
            server.terminate()
            server.wait(30)
        left = [p for p in Path(scratch).rglob("*.jpg") if p.name == PICTURE.name]
        crashed = "Traceback" in log.read_text()
    return told(asked, count, samples, crashed, len(left))


def wait(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the server did not answer")


def told(asked: argparse.Namespace, count: Count, samples: list[int], crashed: bool, left: int) -> int:
    latencies = sorted(count.latencies)
    megabytes = [s / 2**20 for s in samples]
    grown = max(megabytes) - megabytes[0]

    def at(share: float) -> float:
        return latencies[min(int(share * len(latencies)), len(latencies) - 1)] if latencies else float("nan")

    print(f"{asked.clients} clients for {asked.seconds:g} s")
    print(f"done {count.done}, politely refused {count.refused}, errors {len(count.errors)}, log clean: {not crashed}")
    print(f"latency p50 {at(0.5):.1f} s, p95 {at(0.95):.1f} s, longest {at(1):.1f} s")
    print(f"memory at first {megabytes[0]:.0f} MB, at most {max(megabytes):.0f}, at the end {megabytes[-1]:.0f}")
    print(f"uploads left on the disk: {left}")
    for error in dict.fromkeys(count.errors):
        print("  ", error)
    return 1 if count.errors or crashed or grown > asked.bound or not count.done else 0


if __name__ == "__main__":
    sys.exit(main())
