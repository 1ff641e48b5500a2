"""``--quiet`` and ``--verbose``, and completion of the shell's line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskwise.cli import app
from maskwise.images import packaged_pictures

PICTURE = str(packaged_pictures()[0])


def explain(out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["explain", PICTURE, "--method", "center", "--out", str(out), *options])


def test_quiet_says_nothing_and_writes_all(tmp_path: Path) -> None:
    loud, quiet = explain(tmp_path / "loud"), explain(tmp_path / "quiet", "--quiet")
    assert loud.exit_code == quiet.exit_code == 0
    assert "figures in" in loud.stdout and quiet.stdout == "" and quiet.stderr == ""
    assert [p.name for p in sorted((tmp_path / "quiet").rglob("*"))] == [
        p.name for p in sorted((tmp_path / "loud").rglob("*"))
    ]


def test_quiet_keeps_what_was_asked_for_and_errors(tmp_path: Path) -> None:
    assert json.loads(explain(tmp_path / "a", "-q", "--json").stdout)[0]["method"] == "center"
    refused = explain(tmp_path / "b", "-q", "--target", "no such class")
    assert refused.exit_code == 2
    assert "no such class" in refused.stderr and refused.stdout == ""


def test_verbose_tells_on_stderr_what_is_done(tmp_path: Path) -> None:
    told = explain(tmp_path, "--verbose")
    assert told.exit_code == 0
    for part in ("torch", "classifier efficientnet_lite0: 224 px, 1000 classes", "center, ", "done after"):
        assert part in told.stderr
    assert "figures in" in told.stdout
    assert explain(tmp_path / "again").stderr == "", "one loud call must not make the next one loud"


def test_verbose_shows_where_an_error_came_from(tmp_path: Path) -> None:
    told = explain(tmp_path, "-v", "--target", "no such class")
    assert told.exit_code == 2
    assert "Traceback" in told.stderr and "labels.py" in told.stderr
    assert "Traceback" not in explain(tmp_path, "--target", "no such class").stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_commands_and_options(shell: str) -> None:
    """What the shell's own script asks the program, as typer's scripts do."""

    def complete(line: str) -> str:
        words = line.split(" ")
        asked = {"_MASKWISE_COMPLETE": f"complete_{shell}"}
        if shell == "bash":
            asked |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        else:
            asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        code = "import sys; sys.argv = ['maskwise']; from maskwise.cli import app; app(prog_name='maskwise')"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    assert "evaluate" in complete("maskwise ev") and "train" not in complete("maskwise ev")
    assert "--classifier" in complete("maskwise explain --class")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_is_shown(shell: str) -> None:
    code = "import sys; sys.argv = ['maskwise']; from maskwise.cli import app; app(prog_name='maskwise')"
    asked = {**os.environ, "_MASKWISE_COMPLETE": f"source_{shell}"}
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, timeout=60)
    assert "_MASKWISE_COMPLETE" in done.stdout and "maskwise" in done.stdout
