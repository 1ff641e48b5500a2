"""The gate: who is answered, what goes in, and how much of it; before an application that must never see the rest."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from maskwise.core.errors import InputError
from maskwise.web import gate as gates
from maskwise.web.calls import Calls, Event, ignored, number, offered, selected, sent_file, some_of, switch, text
from maskwise.web.gate import API, Gate
from maskwise.web.hosts import Hosts
from maskwise.web.pictures import MAX_BYTES
from maskwise.web.receiving import MOST_OVER
from maskwise.web.uploads import Uploads

FORM = [ignored, offered("the classifier", ["a", "b"]), some_of("methods", ["x", "y"]), text("the class")]
FORM += [switch("SESS"), number("scales", 1, 12)]
CALLS = Calls(
    {
        0: Event(FORM),
        1: Event([sent_file, FORM[1]]),
        2: Event([FORM[1]], selected(5)),
        3: Event([], at_once=True),
    }
)
GOOD = [None, "a", ["x"], "cat", False, 6]


class Inner:
    """What stands behind the gate: notes what reached it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        if scope["method"] == "POST":
            body = (await receive())["body"]
        self.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def gate(inner: Inner | None = None, host: str = "127.0.0.1", further: tuple[str, ...] = ()) -> Gate:
    return Gate(inner or Inner(), Hosts(host, further), Uploads(), CALLS, Counter())


def asked(
    one: Gate, use: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], base: str = "http://127.0.0.1:7860"
) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(one), base_url=base) as client:
            return await use(client)

    return asyncio.run(go())


# Names


@pytest.mark.parametrize(
    ("listens", "further", "host", "right"),
    [
        ("127.0.0.1", (), "127.0.0.1:7860", True),
        ("127.0.0.1", (), "LocalHost", True),
        ("127.0.0.1", (), "localhost.:99", True),
        ("127.0.0.1", (), "[::1]:7860", True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example:7860", False),
        ("127.0.0.1", (), "10.0.0.7:7860", False),
        ("127.0.0.1", (), "evil@127.0.0.1.example", False),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "[::1", False),
        ("127.0.0.1", ("masks.example",), "masks.example", True),
        ("box.example", (), "box.example:7860", True),
        ("box.example", (), "evil.example:7860", False),
        ("0.0.0.0", (), "10.0.0.7:7860", True),
        ("0.0.0.0", (), "[fe80::1]:7860", True),
        ("0.0.0.0", (), "evil.example:7860", False),
    ],
)
def test_only_its_own_names_are_answered_to(listens: str, further: tuple[str, ...], host: str, right: bool) -> None:
    inner = Inner()
    one = gate(inner, listens, further)
    found = asked(one, lambda client: client.get("/", headers={"Host": host}))
    assert (found.status_code == 200) == right and bool(inner.seen) == right
    assert right or found.status_code == 403


@pytest.mark.parametrize(
    ("origin", "right"),
    [
        (None, True),
        ("http://127.0.0.1:7860", True),
        ("http://evil.example", False),
        ("http://127.0.0.1:3000", False),  # another program's page on this machine
        ("http://localhost:7860", False),  # not the name that was asked: no page of ours says so
        ("null", False),
        ("http://127.0.0.1:7860.evil.example", False),
        ("http://127.0.0.1:7860@evil.example", False),
        ("https://127.0.0.1:7860", True),  # a proxy that speaks TLS before us
        ("https://masks.example", True),
        ("http://[", False),
    ],
)
def test_only_its_own_pages_may_ask(origin: str | None, right: bool) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        inner = Inner()
        headers = {} if origin is None else {"Origin": origin, "Access-Control-Request-Method": "POST"}
        path = "/" if method == "GET" else f"{API}/cancel"
        one = gate(inner, further=("masks.example",))
        send = partial(httpx.AsyncClient.request, method=method, url=path, headers=headers, content=b"{}")
        found = asked(one, send)
        if method == "OPTIONS" or not right:
            assert not inner.seen and found.status_code == (404 if right else 403)
            assert not any(name.startswith("access-control") for name in found.headers)
        else:
            assert inner.seen and found.status_code == 200


def test_two_hosts_in_one_request_are_none() -> None:
    found = asked(gate(), lambda c: c.get("/", headers=[("Host", "127.0.0.1"), ("Host", "127.0.0.1")]))
    assert found.status_code == 403


# What there is


@pytest.mark.parametrize(
    "route",
    [
        "POST /run/predict", "POST /api/predict", "POST /call/explain", "POST /component_server",
        "POST /process_recording", "POST /vibe-edit", "GET /vibe-code", "GET /proxy=http://example.com", "GET /runs",
        "POST /stream/1", "GET /openapi.json", "GET /dev/reload", "PUT /queue/join", "DELETE /cancel",
        "POST /queue/data",
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(route: str) -> None:
    inner, (method, path) = Inner(), route.split()
    found = asked(gate(inner), lambda client: client.request(method, API + path, content=b"{}"))
    assert found.status_code in (400, 404) and not inner.seen


def test_a_cookie_that_no_script_and_no_other_page_can_use() -> None:
    found = asked(gate(), lambda client: client.get("/"))
    cookie = found.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    token = cookie.partition(";")[0]
    again = asked(gate(), lambda client: client.get("/", headers={"Cookie": token}))
    assert "set-cookie" not in again.headers
    assert found.headers["x-content-type-options"] == "nosniff" and found.headers["x-frame-options"] == "SAMEORIGIN"
    invented = asked(gate(), lambda client: client.get("/", headers={"Cookie": "maskwise_visitor=me"}))
    assert "set-cookie" in invented.headers


# Calls


def body_of(data: Any, event: Any = 0, session: Any = "s1", **more: Any) -> dict[str, Any]:
    return {"fn_index": event, "data": data, "session_hash": session, **more}


def test_a_right_call_is_handed_on_without_what_nobody_asked_for() -> None:
    inner = Inner()
    body = body_of(GOOD, trigger_id=7, event_id="x", batched=True, oauth_token="t", event_data={"a": 1})
    body["data"][0] = {"state": "what a browser says the server keeps"}
    assert asked(gate(inner), lambda c: c.post(f"{API}/queue/join", json=body)).status_code == 200
    assert json.loads(inner.seen[0][2]) == {
        "fn_index": 0, "session_hash": "s1", "trigger_id": 7, "event_data": None,
        "data": [None, "a", ["x"], "cat", False, 6.0],
    }  # fmt: skip


def with_value(index: int, value: Any) -> list[Any]:
    return [value if i == index else v for i, v in enumerate(GOOD)]


WRONG: list[tuple[Any, str]] = [
    *((body_of(with_value(1, v)), "the classifier must be one") for v in (None, 3, "c", ["a"], {"a": 1})),
    *((body_of(with_value(2, v)), "methods must be some") for v in (None, "x", ["z"], [None], [["x"]], {"x": 1})),
    *((body_of(with_value(3, v)), "the class must be a text") for v in (3, ["cat"], "c" * 201)),
    *((body_of(with_value(4, v)), "SESS must be on or off") for v in (None, 1, "true")),
    *((body_of(with_value(5, v)), "scales must be a number") for v in (None, "6", True, 13, 0, 1e300, 10**400, [6])),
    *((body_of(v), "takes 6 values") for v in (None, [], GOOD[:5], [*GOOD, 1], {"0": 1}, "abc")),
    *((body_of(GOOD, v), "no such event") for v in (None, 9, -1, "0", True, 0.0, [0])),
    *((body_of(GOOD, 0, v), "a session is") for v in (None, "", 3, "a b", "x" * 65, "../x")),
    *((body_of([v, "a"], 1), "one that was sent") for v in ("x", 3, {}, {"path": "/etc/passwd"}, {"path": None})),
    (body_of([{"path": "http://169.254.169.254/x", "url": "http://169.254.169.254/x"}, "a"], 1), "one that was sent"),
    *((body_of(["a"], 2, event_data=v), "an example is") for v in (None, 3, {}, {"index": 5}, {"index": "0"})),
    ([], "must be an object"), (None, "must be an object"), ("x", "must be an object"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "why"), WRONG)
def test_a_wrong_call_is_a_message_and_a_line(body: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    inner = Inner()
    found = asked(gate(inner), lambda client: client.post(f"{API}/queue/join", content=json.dumps(body)))
    assert found.status_code == 400 and why in found.json()["detail"] and not inner.seen
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and why in record.message and "\n" not in record.message
    assert len(record.message) <= 300 and record.exc_info is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 10_000, b"NaN" * 3, b"1" * 5000, b"x" * 70_000]
)
def test_what_is_no_json_or_too_long_is_refused(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("queue/join", "cancel", "reset"):
        inner, before = Inner(), len(caplog.records)
        found = asked(gate(inner), partial(httpx.AsyncClient.post, url=f"{API}/{path}", content=content))
        if not (path != "queue/join" and found.status_code == 200):
            assert found.status_code == 400 and not inner.seen
            assert len(caplog.records) == before + 1


def test_only_what_waits_for_nothing_comes_outside_the_queue() -> None:
    inner = Inner()
    assert asked(gate(inner), lambda c: c.post(f"{API}/run/predict", json=body_of([], 3))).status_code == 200
    assert asked(gate(inner), lambda c: c.post(f"{API}/run/predict", json=body_of(GOOD))).status_code == 400
    assert len(inner.seen) == 1


def test_a_log_line_can_not_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    asked(gate(), lambda client: client.post("/x%0Arefused%20nothing%1b[2J", content=b"{}"))
    (record,) = caplog.records
    assert "\n" not in record.message and "\x1b" not in record.message


def test_a_request_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PATIENCE", 0.1)

    scope = {
        "type": "http", "method": "POST", "path": f"{API}/queue/join", "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    said: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(5)

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(asyncio.wait_for(gate()(scope, receive, send), 2))
    assert said[0]["status"] == 408


# Uploads

HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


def test_an_upload_goes_into_memory_and_is_its_visitor_s() -> None:
    one, content = gate(), bytes(range(256)) * 1000
    found = asked(one, lambda client: client.post(f"{API}/upload", files={"files": ("../../x.png", content)}))
    (token,) = found.json()
    with pytest.raises(InputError):
        one.uploads.take(token, "somebody else")
    assert one.uploads.take(token, "at 127.0.0.1") == (content, "../../x.png")


def test_the_first_file_of_a_form_is_taken() -> None:
    one = gate()
    files = [("note", (None, b"no file")), ("files", ("a.png", b"first")), ("files", ("b.png", b"second"))]
    (token,) = asked(one, lambda client: client.post(f"{API}/upload", files=files)).json()
    assert one.uploads.take(token, "at 127.0.0.1") == (b"first", "a.png") and one.uploads.held() == 0


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("image/png", b"x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", HEAD + b"half"),
        ("multipart/form-data; boundary=x", HEAD.replace(b'; filename="a"', b"") + b"no file\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x"),
    ],
)  # fmt: skip
def test_what_is_no_form_with_a_file_is_refused(kind: str, content: bytes) -> None:
    one = gate()
    found = asked(one, lambda c: c.post(f"{API}/upload", content=content, headers={"Content-Type": kind}))
    assert found.status_code == 400 and "form" in found.json()["detail"] and one.uploads.held() == 0


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("sent", [60, 500])
def test_too_large_an_upload_is_refused_and_never_held(told: bool, sent: int) -> None:
    """What is beyond the bound is read over, so that a browser sees the answer, but not without end."""
    one, came, most = gate(), [0], [0]

    async def parts() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(sent):
            came[0] += 1_000_000
            most[0] = max(most[0], one.uploads.held())
            yield bytes(1_000_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"} | (
        {"Content-Length": f"{sent}000100"} if told else {}
    )
    found = asked(one, lambda client: client.post(f"{API}/upload", content=parts(), headers=headers))
    assert found.status_code == 413 and f"{MAX_BYTES // 1_000_000} MB" in found.json()["detail"]
    assert most[0] <= MAX_BYTES and one.uploads.held() == 0
    assert came[0] == 60_000_000 if sent == 60 else came[0] <= MAX_BYTES + MOST_OVER + 3_000_000


def test_a_slow_upload_is_given_up_and_one_whose_visitor_left_is_dropped() -> None:
    one = gate()
    one.uploads.seconds = 0.2
    kind = (b"content-type", b"multipart/form-data; boundary=x")
    scope = {
        "type": "http", "method": "POST", "path": f"{API}/upload", "query_string": b"",
        "headers": [(b"host", b"localhost"), kind],
    }  # fmt: skip
    for ends in ("never", "leaves"):
        said: list[Any] = []
        messages = [{"type": "http.request", "body": HEAD + b"half", "more_body": True}]
        if ends == "leaves":
            messages.append({"type": "http.disconnect"})

        async def receive(messages: list[Any] = messages) -> Any:
            if not messages:
                await asyncio.sleep(5)
            return messages.pop(0)

        async def send(message: Any, said: list[Any] = said) -> None:
            said.append(message)

        asyncio.run(asyncio.wait_for(one(scope, receive, send), 2))
        assert one.uploads.held() == 0 and not one.uploads._kept
        assert ends == "leaves" or (said[0]["status"] == 413 and b"more than 0.2 s" in said[1]["body"])
