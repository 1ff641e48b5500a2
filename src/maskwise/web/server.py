"""The page's server: one process that listens, with the gate before the page, and nothing left behind at its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterable
from importlib import resources
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.routing import Mount

from maskwise.core.errors import InputError
from maskwise.web.app import WebPage
from maskwise.web.gate import Gate
from maskwise.web.hosts import Hosts
from maskwise.web.pictures import MAX_BYTES
from maskwise.web.results import zipped
from maskwise.web.visitors import visitor_of

CONNECTIONS = 1000  # at once
SWEEP = 5.0  # seconds between two looks for uploads that nobody asked for
GRACE = 3  # seconds for requests that run when the end is asked for


def application(page: WebPage, hosts: Hosts) -> Gate:
    """The page as an ASGI application, behind its gate."""
    style = (resources.files("maskwise.web") / "style.css").read_text(encoding="utf-8")
    plain = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(primary_hue="emerald", font=plain, font_mono=["ui-monospace", "monospace"])

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(page))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.to_thread(page.line.close)

    outer = FastAPI(openapi_url=None, lifespan=life)

    @outer.get("/result/{name}.zip")
    async def result(name: str, request: Request) -> Response:
        """A visitor's own newest result."""
        whose = visitor_of([request.headers.get("cookie", "")], request.client.host if request.client else "nobody")
        found = page.results.find(whose, name)
        if found is None:
            return PlainTextResponse("this result is not here any more: press Explain again", 410)
        content = await asyncio.to_thread(zipped, found)
        called = f'attachment; filename="maskwise-{name[:8]}.zip"'
        return Response(content, media_type="application/zip", headers={"content-disposition": called})

    gr.mount_gradio_app(
        outer, page.blocks, "/", footer_links=[], run_history=False, show_error=False, max_file_size=MAX_BYTES,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme, css=style,
        head=f"<script>{page.script}</script>",
    )  # fmt: skip
    return Gate(outer, hosts, page.uploads, page.calls, page.listening)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the port is taken, or the machine has no such address.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError:
        raise InputError(f"there is no host {host!r} here: give another `host`") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken on {host}: give another `port`") from None
        raise InputError(
            f"can't listen on {host}, port {port} ({error.strerror}): give another `host` or `port`"
        ) from None
    return listening


def serve(page: WebPage, listening: socket.socket, host: str, further: Iterable[str] = ()) -> None:
    """Serves the page until SIGINT or SIGTERM.

    Args:
        page: what is served.
        listening: from ``listen``.
        host: the name that it listens on.
        further: names under which it is known beside that.
    """
    app = application(page, Hosts(host, further))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30, timeout_graceful_shutdown=GRACE,
        proxy_headers=False,  # an address that a visitor tells is none
    )  # fmt: skip
    _Server(config, app).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Tells the page's endless streams that the end has come, which would hold it up."""

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        super().__init__(config)
        outer: Any = gate.app
        self.gate = gate
        self.pages: list[Any] = [route.app for route in outer.routes if isinstance(route, Mount)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.gate.ending = True
        for app in self.pages:
            app.stop_event.set()
            app.get_blocks().is_running = False
            app.get_blocks()._queue.close()
        await super().shutdown(sockets)


async def _sweep(page: WebPage) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        page.uploads.expire()
        page.results.expire()
