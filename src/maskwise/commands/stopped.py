"""What a command that SIGINT or SIGTERM stopped says: what is kept, and the very command that goes on."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

RESUME = "--resume"
After = Literal["resume", "same", "anew", "service"]


def typed() -> list[str]:
    """This program's call as its user typed it."""
    program = ["python", "-m", "maskwise"] if Path(sys.argv[0]).name == "__main__.py" else ["maskwise"]
    return [*program, *sys.argv[1:]]


def how_to_go_on(said: str, after: After, kept: bool, call: Sequence[str]) -> str:
    """One line.

    Args:
        said: what the library says is kept, where it is this command's own work; else empty.
        after: see ``maskwise.commands.registration.command``.
        kept: has the command a place where it keeps what is done?
        call: the command, in words.

    Example:
        >>> how_to_go_on("", "resume", True, ["maskwise", "train", "casm", "--data", "my pictures"])
        "interrupted; go on with `resume=True`, as in: maskwise train casm --data 'my pictures' --resume"
        >>> how_to_go_on("", "same", True, ["maskwise", "pack", "shapes:n=9", "--out", "s"])
        'interrupted; what is done is kept, and the same command goes on from there: maskwise pack shapes:n=9 --out s'
    """
    if after == "service":
        return "interrupted"
    if after == "resume":
        call = call if RESUME in call else [*call, RESUME]
        return f"{said or 'interrupted; go on with `resume=True`'}, as in: {shlex.join(call)}"
    if after == "same" and kept:
        return f"interrupted; what is done is kept, and the same command goes on from there: {shlex.join(call)}"
    return f"interrupted; nothing half-made is left, and the same command begins anew: {shlex.join(call)}"


def speaks() -> bool:
    """Is this the one process of several that says what all have to say?"""
    return all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))
