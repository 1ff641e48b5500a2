"""llms.txt: the form of llmstxt.org, links that lead somewhere, and commands and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer.main

from maskwise.cli import app
from maskwise.commands.registration import commands
from maskwise.schemas import SCHEMAS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "llms.txt").read_text(encoding="utf-8")


def test_its_form() -> None:
    lines = TEXT.splitlines()
    assert lines[0] == "# maskwise" and lines[2].startswith("> ")
    assert [line for line in lines if line.startswith("#")][1:] == ["## Use", "## Change", "## Optional"]
    listed = [line for line in lines[lines.index("## Use") :] if line and not line.startswith("#")]
    assert all(re.fullmatch(r"- \[[^]]+\]\([^)]+\): .+", line) for line in listed)


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 10 and all((ROOT / link).is_file() for link in links)


def test_its_commands_are_calls() -> None:
    calls = re.findall(r"`maskwise ([a-z][^`]*)`", TEXT)
    assert len(calls) >= 4
    for said in calls:
        name, *words = shlex.split(said)
        command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
        options = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, said


def test_every_command_takes_json_and_the_schemas_are_named() -> None:
    for name in commands:
        command = typer.main.get_command(app)
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        takes = "--json" in {flag for parameter in command.params for flag in parameter.opts}
        assert takes or name == "serve", name
    assert all(f"`{name}`" in TEXT for name in SCHEMAS)
