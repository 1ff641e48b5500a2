"""What stands before the page: whatever comes in is looked at here first, and what the page does not need ends here."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from maskwise.core.errors import InputError
from maskwise.core.text import printable
from maskwise.web.calls import Calls
from maskwise.web.hosts import Hosts
from maskwise.web.receiving import read_over, receive_file
from maskwise.web.uploads import NoRoomError, TooSlowError, Uploads
from maskwise.web.visitors import cookie_for, given_visitor, new_visitor, visitor_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api"
MOST = 64_000  # bytes of a request that is no upload
PATIENCE = 20.0  # seconds for such a request to come
LOGGED = 300  # characters of a line
# What the page itself asks for. Everything else that Gradio answers to is not there.
READ = re.compile(
    r"/|/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json)/?|/(assets|static|svelte)/.*"
    rf"|{API}/(info|startup-events|theme\.css|app_id|user|login_check|token|queue/data|upload_progress)/?"
    rf"|{API}/(heartbeat|file=).*|/result/[0-9a-f]{{32}}\.zip"
)
CALL = re.compile(rf"{API}/(queue/join|run/[\w.-]+)/?")  # the second: of events that wait for nothing
WRITE = re.compile(rf"{CALL.pattern}|{API}/(upload|cancel|reset)/?")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
log = logging.getLogger("maskwise.web")


class Gate:
    """An ASGI application around another one.

    Args:
        app: the page.
        hosts: its names.
        uploads: where files go.
        calls: what its events take.
        listening: how many streams a session reads; kept here, read by the page.
    """

    def __init__(self, app: App, hosts: Hosts, uploads: Uploads, calls: Calls, listening: Counter[str]) -> None:
        self.app, self.hosts, self.uploads, self.calls, self.listening = app, hosts, uploads, calls, listening
        self.ending = False  # set once the server ends: requests that are cut off then are no errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                await self._http(scope, receive, send)
            except asyncio.CancelledError:
                if not self.ending:
                    raise
                with suppress(RuntimeError):  # an answer had begun
                    await _refuse(scope, send, 503, "the server has ended", quietly=True)
        else:  # the page opens no websocket
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        why = self.hosts.refusal(headers.get("host"), headers.get("origin"))
        if why is not None:
            await _refuse(scope, send, 403, why)
            return
        method, path = scope["method"], scope["path"]
        if not (WRITE if method == "POST" else READ).fullmatch(path) or method not in ("GET", "HEAD", "POST"):
            await _refuse(scope, send, 404, "there is nothing here", quietly=method != "POST")
            return
        send = _with_headers(send, _new_cookie(scope) if path == "/" else None)
        if method != "POST":
            await self._read(scope, receive, send)
        elif path.startswith(f"{API}/upload"):
            await self._upload(scope, receive, send, headers)
        else:
            await self._post(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(f"{API}/upload_progress"):
            # The file was here before the browser could ask; the page shows no progress of its own.
            await _answer(send, 200, b'data: {"msg": "done"}\n\n', b"text/event-stream")
            return
        if not path.startswith(f"{API}/queue/data"):
            await self.app(scope, receive, send)
            return
        session = (parse_qs(scope["query_string"].decode("latin-1")).get("session_hash") or [""])[0]
        self.listening[session] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.listening[session] -= 1
            if self.listening[session] <= 0:
                del self.listening[session]

    async def _upload(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        ended = False

        async def part() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body", False)
            return message

        try:
            upload = self.uploads.begin(_visitor(scope))
        except NoRoomError as error:
            await read_over(part)
            await _refuse(scope, send, 429, str(error))
            return
        try:
            there = await receive_file(part, headers, upload, self.uploads)
        except InputError as error:
            self.uploads.drop(upload)
            if not ended and not isinstance(error, TooSlowError):
                await read_over(part)
            await _refuse(scope, send, 413 if isinstance(error, NoRoomError) else 400, str(error))
            return
        except BaseException:
            self.uploads.drop(upload)
            raise
        if not there:  # the visitor left
            self.uploads.drop(upload)
            return
        await _answer(send, 200, json.dumps([upload.token]).encode())

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(_body(receive), PATIENCE)
            if body is None:
                return
            if CALL.fullmatch(scope["path"]):
                at_once = "/run/" in scope["path"]
                body = json.dumps(self.calls.checked(_parsed(body), at_once)).encode()
            else:
                _parsed(body)
        except asyncio.TimeoutError:
            await _refuse(scope, send, 408, f"the request took more than {PATIENCE:g} s to come")
            return
        except InputError as error:
            await _refuse(scope, send, 400, str(error))
            return
        sized = [
            (k, v) for k, v in scope["headers"] if k not in (b"content-length", b"transfer-encoding", b"content-type")
        ]
        sized += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await self.app({**scope, "headers": sized}, _replayed(body, receive), send)


def _headers(scope: Scope) -> dict[str, str]:
    """By name; of one that comes twice nothing counts, since two readers may take different ones."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = key.decode("latin-1").lower()
        found[name] = "" if name in found and name in ("host", "origin", "content-type") else value.decode("latin-1")
    return found


def _cookies(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == b"cookie"]


def _visitor(scope: Scope) -> str:
    return visitor_of(_cookies(scope), (scope.get("client") or ("nobody",))[0])


def _new_cookie(scope: Scope) -> str | None:
    return None if given_visitor(_cookies(scope)) else cookie_for(new_visitor())


def _with_headers(send: Send, cookie: str | None) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [*HEADERS, *([(b"set-cookie", cookie.encode())] if cookie else [])]
            message["headers"] = [*message.get("headers", []), *more]
        await send(message)

    return sending


async def _body(receive: Receive) -> bytes | None:
    """All of a short request; None where the visitor left."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        found += message.get("body", b"")
        if len(found) > MOST:
            raise InputError(f"a request has at most {MOST} bytes")
        if not message.get("more_body", False):
            return bytes(found)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("a request must be JSON") from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(scope: Scope, send: Send, code: int, why: str, quietly: bool = False) -> None:
    """One line for the visitor and, unless ``quietly``, one for the log."""
    if not quietly:
        log.warning("%s", printable(f"refused {code} {scope['method']} {scope['path']}: {why}")[:LOGGED])
    await _answer(send, code, json.dumps({"detail": why}).encode())


async def _answer(send: Send, code: int, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
