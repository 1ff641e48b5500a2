"""SIGINT and SIGTERM for real in the middle of every command: one line, its code, nothing half-made; it goes on."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest
from convert.test_convert import save_casm
from faults.commanding import WORKS, called, prepare, released

from maskwise.commands.registration import commands

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")

SHORT = {"classifiers", "datasets", "doctor", "layers", "methods", "metrics", "recipes"}  # they end by themselves
ALIKE = {"demo"}  # what explain does, on pictures of the package
SERVICES = {"serve", "live"}  # ended by their users; the page has tests/web/test_visitors.py


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    prepare(folder)
    return folder


def test_every_command_is_struck_or_ends_by_itself() -> None:
    assert sorted([*WORKS, *SHORT, *ALIKE, *SERVICES]) == sorted(commands)
    assert {name for name, one in commands.items() if one.after == "service"} == SERVICES


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_struck(name: str, number: int, place: Path, tmp_path: Path) -> None:
    work, there = WORKS[name], tmp_path / "out"
    for path in place.iterdir():
        (tmp_path / path.name).symlink_to(path)
    if name == "convert":
        save_casm(tmp_path / "old.chk", *released())
    typed = shlex.split(work.arguments)
    code, said = called(typed, tmp_path, tmp_path / "said", (work.strike, work.call, number))
    lines = [line for line in said.splitlines() if line.startswith("maskwise: ") and "warning" not in line]
    assert code == 128 + number, said
    assert "Traceback" not in said and len(lines) == 1 and lines[0].startswith("maskwise: interrupted"), said
    assert not list(there.rglob(".*")), "nothing half-made, and no lock"
    words = shlex.split(lines[0].rpartition(": maskwise ")[2])
    assert words == (typed if commands[name].after != "resume" else [*typed, "--resume"])
    if number == signal.SIGTERM and work.again:
        code, said = called(words, tmp_path, tmp_path / "said")
        assert code == 0, said
        assert name == "plan" or [p for p in there.rglob("*") if p.is_file()]
