"""Standard streams that are closed or full, and memory that ends: a code and at most one line, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from maskwise.commands.plain import complain, speaks_plainly
from maskwise.core.alike import warn_of_first
from maskwise.core.errors import InputError

PRINTING = [("datasets",), ("datasets", "--json"), ("--help",)]


def run(*arguments: str, redirect: str) -> tuple[int, str]:
    line = f'"{sys.executable}" -m maskwise {" ".join(arguments)} {redirect}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=200)
    return done.returncode, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no bash")
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_that_is_closed(arguments: tuple[str, ...]) -> None:
    assert run(*arguments, redirect=">&-") == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is full")
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_on_a_full_disk(arguments: tuple[str, ...]) -> None:
    code, said = run(*arguments, redirect="> /dev/full")
    assert code == 1 and said == "maskwise: can't write to the standard output (No space left on device)\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no bash")
def test_nobody_reads_the_complaints() -> None:
    assert run("nothing-of-that-name", redirect="2>&-") == (2, "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
)  # fmt: skip
def test_out_of_memory_anywhere(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def command(batch: int = 8, device: str = "cpu") -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        speaks_plainly(command)()
    assert caught.value.exit_code == 1
    said = capsys.readouterr().err
    assert said == "maskwise: out of memory; end what else is running, or take smaller files\n"


def test_other_errors_are_no_lack_of_memory() -> None:
    def command() -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        speaks_plainly(command)()


def test_lines_have_300_signs_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError(f"{'a' * 5000}: no such file; name another `out`")
    assert len(str(error)) == 300 and str(error).startswith("aaa") and str(error).endswith("name another `out`")
    for message in (error, "\x1b" * 400):
        complain(message)
        assert len(capsys.readouterr().err) <= 301
    assert str(InputError("x" * 300)) == "x" * 300


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_command_counts_the_pictures_that_it_read_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """What a program had read before was told at the end of the next command, and its own first one was not."""

    def read(*names: str) -> None:
        for name in names:
            warn_of_first(name, "are dim", f"{name}: is dim")

    read("a.png", "b.png")
    speaks_plainly(lambda: None)()
    assert capsys.readouterr().err == ""
    read("a.png")
    speaks_plainly(lambda: read("c.png", "d.png"))()
    assert capsys.readouterr().err == "maskwise: warning: 2 pictures are dim, of which c.png is the first\n"
