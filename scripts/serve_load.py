"""Many visitors at once on ``maskwise serve``, for a minute, on loopback.

Most drop a picture and press Explain, again and again; some press Explain and Cancel in storms; some leave in the
middle of a request; others send uploads so slowly that they never end. Prints how many requests of the first kind were
done, refused and failed, their latency from the press of the button, and the server's memory, sampled each second. Ends
with 1 where anything failed, the log has a traceback, something was left on the disk, or memory grew beyond the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

API = "/gradio_api"
PICTURE = Path(__file__).parents[1] / "src" / "maskwise" / "assets" / "pictures" / "cat.jpg"
FORM = [None, "efficientnet_lite0", ["grad_cam"], "its top class", False, 6, 0.9, False, ""]
LONG = [None, "efficientnet_lite0", ["rise"], "its top class", False, 6, 0.9, False, ""]


@dataclass
class Count:
    """What the visitors saw; latencies in seconds from the press of the button."""

    done: int = 0
    refused: int = 0
    cancels: int = 0
    left: int = 0
    slow: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Refused(Exception):  # noqa: N818
    """The page said that there are too many visitors."""


@dataclass(frozen=True)
class Events:
    """The page's events by number."""

    dropped: int
    explain: int
    cancel: int

    @classmethod
    def read(cls, config: dict[str, Any]) -> Events:
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        at = {
            (target[0], target[1]): number
            for number, event in enumerate(config["dependencies"])
            for target in event["targets"]
            if event["backend_fn"]
        }
        return cls(at[ids["drop"], "upload"], at[ids["go"], "click"], at[ids["stop"], "click"])


def body_of(number: int, session: str, data: list[Any]) -> dict[str, Any]:
    return {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}


async def call(
    client: httpx.AsyncClient, session: str, number: int, data: list[Any], until: float | None = None
) -> str:
    """One event, waited for to its end, or until a moment; all that it put on the page."""
    joined = await client.post(f"{API}/queue/join", json=body_of(number, session, data))
    if joined.status_code in (429, 503):
        raise Refused(joined.text)
    joined.raise_for_status()
    shown = ""
    async with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        stream.raise_for_status()
        async for line in stream.aiter_lines():
            if until is not None and time.monotonic() > until:
                return shown  # and so the stream is closed
            if not line.startswith("data:"):
                continue
            said = json.loads(line[5:])
            if said["msg"] in ("unexpected_error", "server_stopped"):
                raise RuntimeError(line[:300])
            if said["msg"] in ("process_generating", "process_completed"):
                if not said["success"]:
                    raise RuntimeError(line[:300])
                shown += json.dumps(said["output"].get("data"))
            if said["msg"] == "process_completed":
                if "too many visitors" in shown:
                    raise Refused
                return shown
    raise RuntimeError("the stream ended early")


async def come(client: httpx.AsyncClient, events: Events, session: str) -> None:
    """Opens the page, for its cookie, and drops a picture."""
    (await client.get("/")).raise_for_status()
    sent = await client.post(f"{API}/upload", files={"files": ("cat.jpg", PICTURE.read_bytes())})
    sent.raise_for_status()
    picture = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
    shown = await call(client, session, events.dropped, [picture, None, "efficientnet_lite0", "its top class"])
    if "Egyptian cat" not in shown:
        raise RuntimeError(f"the picture was not looked at: {shown[:200]}")


async def normal(client: httpx.AsyncClient, events: Events, session: str, count: Count) -> None:
    await come(client, events, session)
    pressed = time.monotonic()
    shown = await call(client, session, events.explain, FORM)
    if "on the whole picture" not in shown or "mw-wrong" in shown:
        raise RuntimeError(f"no answer: {shown[:200]}")
    count.done += 1
    count.latencies.append(time.monotonic() - pressed)


async def storm(client: httpx.AsyncClient, events: Events, session: str, count: Count) -> None:
    """Explain and Cancel, a long request each time, as quickly as a nervous hand."""
    await come(client, events, session)
    for _ in range(10):
        listening = asyncio.create_task(call(client, session, events.explain, LONG))
        await asyncio.sleep(random.uniform(0, 0.5))
        (await client.post(f"{API}/run/predict", json=body_of(events.cancel, session, []))).raise_for_status()
        for _ in range(100):  # the press may have come before the request was in line
            if listening.done():
                break
            await asyncio.sleep(0.2)
            (await client.post(f"{API}/run/predict", json=body_of(events.cancel, session, []))).raise_for_status()
        await listening
        count.cancels += 1


async def leaving(client: httpx.AsyncClient, events: Events, session: str, count: Count) -> None:
    await come(client, events, session)
    await call(client, session, events.explain, LONG, time.monotonic() + random.uniform(0, 2))
    count.left += 1


async def slow_upload(address: str, seconds: float, count: Count) -> None:
    """A few bytes each second; the server may end it."""
    host, port = address.removeprefix("http://").split(":")
    cookie = f"maskwise_visitor={random.getrandbits(128):032x}"  # a visitor of its own
    head = f"POST {API}/upload HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\nContent-Length: 1000000\r\n"
    head += 'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; name="files"; '
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        count.slow += 1
        reader, writer = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            writer.write((head + 'filename="x.png"\r\n\r\n').encode())
            while time.monotonic() < until and not reader.at_eof():
                writer.write(b"slow")
                await writer.drain()
                with suppress(asyncio.TimeoutError):
                    if await asyncio.wait_for(reader.read(4096), 1):
                        break
        writer.close()
        await asyncio.sleep(1)


async def again(kind: Any, address: str, events: Events, until: float, name: str, count: Count) -> None:
    """One visitor after another, each with a browser of its own."""
    visit = 0
    while time.monotonic() < until:
        visit += 1
        async with httpx.AsyncClient(base_url=address, timeout=300) as client:
            try:
                await kind(client, events, f"{name}x{visit}", count)
            except Refused:
                count.refused += 1
                await asyncio.sleep(1)
            except (httpx.HTTPError, RuntimeError, KeyError, ValueError) as error:
                count.errors.append(f"{kind.__name__}: {type(error).__name__}: {str(error)[:300]}")
                await asyncio.sleep(1)


def resident(process: int) -> int:
    """Memory in use, in bytes, of a Linux process."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split(None, 1)[0]) * 1024


async def sampled(process: int, samples: list[int]) -> None:
    while True:
        samples.append(resident(process))
        await asyncio.sleep(1)


async def drive(address: str, asked: argparse.Namespace, process: int) -> tuple[Count, list[int]]:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        events = Events.read((await client.get("/config")).json())
    count, samples, warm = Count(), list[int](), Count()
    await again(normal, address, events, time.monotonic() + 0.01, "warm", warm)  # what a first job loads is no growth
    if warm.errors:
        raise SystemExit(f"the first visit failed: {warm.errors}")
    watch = asyncio.create_task(sampled(process, samples))
    until = time.monotonic() + asked.seconds
    kinds = [(normal, asked.normal), (storm, asked.storms), (leaving, asked.leaving)]
    visits = [
        again(kind, address, events, until, f"{kind.__name__}{n}", count) for kind, many in kinds for n in range(many)
    ]
    await asyncio.gather(*visits, *(slow_upload(address, asked.seconds, count) for _ in range(asked.slow)))
    await asyncio.sleep(12)  # who left is noticed after ten seconds
    watch.cancel()
    return count, samples


@contextmanager
def serving(scratch: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The server, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "maskwise", "serve", "--port", port, "--classifier", "efficientnet_lite0"]
    (scratch / "tmp").mkdir()
    with (scratch / "log").open("w") as out:
        environment = {**os.environ, "TMPDIR": str(scratch / "tmp")}
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        wait(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.terminate()
        server.wait(30)


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


def told(asked: argparse.Namespace, count: Count, samples: list[int], log: str, left: list[str]) -> int:
    latencies = sorted(count.latencies)
    megabytes = [s / 2**20 for s in samples]
    grown = max(megabytes) - megabytes[0]

    def at(share: float) -> float:
        return latencies[min(int(share * len(latencies)), len(latencies) - 1)] if latencies else float("nan")

    print(
        f"{asked.normal} visitors, {asked.storms} cancel storms, {asked.leaving} that leave, {asked.slow} slow uploads "
        f"for {asked.seconds:g} s"
    )
    print(f"done {count.done}, refused {count.refused}, failed {len(count.errors)}")
    print(f"cancelled {count.cancels}, left {count.left}, slow uploads begun {count.slow}")
    print(f"latency p50 {at(0.5):.1f} s, p95 {at(0.95):.1f} s, longest {at(1):.1f} s")
    print(f"memory at first {megabytes[0]:.0f} MB, at most {max(megabytes):.0f}, at the end {megabytes[-1]:.0f}")
    print(f"lines in the log {len(log.splitlines())}, tracebacks {log.count('Traceback')}; left on the disk: {left}")
    for error in list(dict.fromkeys(count.errors))[:20]:
        print("  ", error)
    bad = count.errors or "Traceback" in log or left or grown > asked.bound or not count.done
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--normal", type=int, default=36)
    parser.add_argument("--storms", type=int, default=7)
    parser.add_argument("--leaving", type=int, default=7)
    parser.add_argument("--slow", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bound", type=float, default=1536, help="MB that the server may grow by")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with serving(scratch) as (address, server):
            count, samples = asyncio.run(drive(address, asked, server.pid))
        left = [str(p.relative_to(scratch)) for p in (scratch / "tmp").rglob("*")]
        return told(asked, count, samples, (scratch / "log").read_text(), left)


if __name__ == "__main__":
    sys.exit(main())
