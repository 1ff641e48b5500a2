"""Several visitors on the real server: what one does must not touch the others, whatever it sends."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from serving import API, TOP, Served, Visitor, form, served

from maskwise.images import packaged_pictures

pytest.importorskip("gradio", reason="gradio is not installed")
GO = ("go", "click")


def own_files(scratch: Path) -> list[Path]:
    return [p for p in scratch.rglob("*") if p.is_file()]


def test_two_visitors_with_the_same_picture_and_the_gallery_s(server: Served) -> None:
    """The very bytes and name of an example: neither clean-up takes anything from the other, or from the gallery."""
    example = packaged_pictures()[0]
    before = own_files(server.scratch)
    assert len(before) == len(packaged_pictures())
    first, second = Visitor(server, "same1"), Visitor(server, "same2")
    tokens = [v.send(example.read_bytes(), example.name).json()[0] for v in (first, second)]
    assert own_files(server.scratch) == before, "nothing that is sent touches the disk"

    def looked(visitor: Visitor, token: str) -> str:
        picture = {"path": token, "meta": {"_type": "gradio.FileData"}}
        return visitor.asked(("drop", "upload"), [picture, None, "efficientnet_lite0", TOP])[-1]

    assert "drop it again" in looked(second, tokens[0]), "nobody takes another one's"
    assert "Egyptian cat" in looked(first, tokens[0])
    assert "Egyptian cat" in looked(second, tokens[1])
    assert "drop it again" in looked(first, tokens[0])
    third = Visitor(server, "same3")
    chosen = third.example(0)
    assert "Egyptian cat" in chosen[-1]
    images = next(
        c for c in third.client.get("/config").json()["components"] if c["props"].get("elem_id") == "examples"
    )["props"]["value"]
    for image in images:
        assert third.client.get(f"{API}/file={image['image']['path']}").status_code == 200
    assert own_files(server.scratch) == before


def test_a_slow_request_does_not_hold_up_a_quick_one_and_can_be_cancelled(server: Served) -> None:
    slow, quick = Visitor(server, "slow"), Visitor(server, "quick")
    picture = packaged_pictures()[1].read_bytes()
    slow.drop(picture)
    quick.drop(picture)
    quick.asked(GO, form(["gradient"]))  # what is loaded the first time is loaded
    heard: list[str] = []
    slow.join(GO, form(["rise"], sess=True, scales=12, prefilter=0)).raise_for_status()

    def listen() -> None:
        heard.extend(json.dumps(message) for message in slow.said())

    ear = threading.Thread(target=listen)
    ear.start()
    time.sleep(3)
    began = time.monotonic()
    shown = quick.asked(GO, form(["gradient"]))
    took = time.monotonic() - began
    assert "done" in shown[-1] and any("on the whole picture" in text for text in shown)
    assert ear.is_alive() and took < 20, took
    began = time.monotonic()
    slow.client.post(
        f"{API}/run/predict", json={"fn_index": slow.events["stop", "click"], "data": [], "session_hash": "slow"}
    )
    ear.join(20)
    assert not ear.is_alive() and time.monotonic() - began < 10
    assert "cancelled" in heard[-1] or "cancelled" in heard[-2]


def test_many_in_line_see_their_place_and_who_leaves_gives_it_up(server: Served) -> None:
    visitors = [Visitor(server, f"line{i}") for i in range(7)]
    for visitor in visitors:
        visitor.example(2)
    for visitor in visitors[:6]:
        visitor.join(GO, form(["rise"], sess=True, scales=12, prefilter=0)).raise_for_status()
    time.sleep(2)  # four have a seat, two wait
    last, places = visitors[6], list[str]()
    last.join(GO, form(["gradient"])).raise_for_status()
    # The six never read their streams: they count as gone after a while, and the last one's turn comes.
    for message in last.said():
        text = json.dumps(message)
        if "In line: place" in text:
            places.append(text.partition("In line: place ")[2][:1])
            assert "done in about" in text
        if message["msg"] == "process_completed":
            assert message["success"] and "done" in text
            break
    assert places == sorted(places, reverse=True) and places[0] == "3"


@pytest.mark.parametrize("event", ["drop upload", "examples select", "classifier change", "sess change", "go click"])
def test_nulls_and_wrong_types_are_messages_without_a_traceback(server: Served, event: str) -> None:
    visitor, (part, kind) = Visitor(server, "wrong"), event.split()
    before = len(server.log.splitlines())
    count, values = 0, [None, 3, -1.5, "x", "", True, [], {}, [None], {"path": "/etc/passwd"}, "9" * 999]
    right = {"drop": 4, "examples": 3, "classifier": 3, "sess": 1, "go": 9}[part]
    for value in values:
        for length in (0, right - 1, right, right + 1):
            refused = visitor.join((part, kind), [value] * length, event_data=value)
            if refused.status_code == 200:
                assert part == "sess" and value is True
                continue
            assert refused.status_code == 400 and 10 < len(refused.json()["detail"]) < 200
            count += 1
    said = server.log.splitlines()[before:]
    assert len(said) == count and all(line.startswith("refused 400") for line in said)
    # And it works as before.
    assert "Egyptian cat" in visitor.drop(packaged_pictures()[0].read_bytes())[-1]
    assert "Choose one to 4" in visitor.asked(GO, form([]))[-1]
    assert "Traceback" not in server.log


def test_a_page_elsewhere_gets_nothing(server: Served) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for method, path in (("GET", "/config"), ("POST", f"{API}/upload"), ("OPTIONS", f"{API}/queue/join")):
            found = httpx.request(method, server.address + path, headers=headers)
            assert found.status_code == 403
            assert not any(name.startswith("access-control") for name in found.headers)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where a server has its temporary files."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_sigterm_leaves_nothing_on_disk(scratch: Path) -> None:
    """With an upload there, one half-way, and a request at work."""
    with served(scratch, "--limit", "60") as running:
        visitor = Visitor(running, "ends")
        visitor.drop(packaged_pictures()[0].read_bytes())
        visitor.send(b"never asked for").raise_for_status()
        visitor.join(GO, form(["rise"], sess=True, scales=12, prefilter=0)).raise_for_status()
        host, port = running.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as half:
            half.sendall(
                f"POST {API}/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode()
            )
            time.sleep(1)
            assert own_files(scratch)
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(30) in (143, -signal.SIGTERM)
            assert time.monotonic() - began < 20
        assert not list(scratch.iterdir()), list(scratch.rglob("*"))
        assert "Traceback" not in running.log


def test_the_time_limit_is_said(scratch: Path) -> None:
    with served(scratch, "--limit", "2") as running:
        visitor = Visitor(running, "long")
        visitor.drop(packaged_pictures()[0].read_bytes())
        began = time.monotonic()
        shown = visitor.asked(GO, form(["rise"], sess=True, scales=12, prefilter=0))
        assert "stopped after 2 s of work" in shown[-1] and time.monotonic() - began < 30
