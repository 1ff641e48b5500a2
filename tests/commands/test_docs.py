"""Command lines of the documentation name commands and options that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from maskwise.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CALL = re.compile(r"(?:^|`)maskwise ((?:[^`\n\\]|\\\n)+)", re.M)


def calls(page: Path) -> list[list[str]]:
    """The words of each command line: a line of a block, or a text in backticks."""
    return [found[1].replace("\\\n", " ").split() for found in CALL.finditer(page.read_text(encoding="utf-8"))]


def test_there_are_many() -> None:
    assert sum(len(calls(page)) for page in PAGES) > 100


@pytest.mark.parametrize("page", [page for page in PAGES if calls(page)], ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    wrong = []
    shown = set(re.findall(r'@command\(\s*"(\w+)"', page.read_text(encoding="utf-8")))  # commands that a snippet adds
    for words in calls(page):
        if words and words[0] in shown:
            continue
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        if hasattr(command, "commands"):
            if rest and re.fullmatch(r"[a-z]+", rest[0]):
                wrong.append(" ".join(words))  # no such command
            continue
        flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        named = [word.partition("=")[0].rstrip(").,;:") for word in rest if re.match(r"--[a-z]", word)]
        wrong += [f"maskwise {' '.join(words)}: {flag}" for flag in named if flag not in {*flags, "--help"}]
    assert not wrong
