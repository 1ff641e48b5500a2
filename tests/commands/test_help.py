"""``--help``: headings, an example that is a call of the command, and no heavy import; the groups behind it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from calling import call
from typer.testing import CliRunner

from maskwise.cli import app
from maskwise.commands import registration
from maskwise.commands.groups.ungrouped import ungrouped
from maskwise.commands.registration import SECTIONS, commands

NAMES = sorted(commands)
WITH_CLASSIFIER = {
    "demo", "explain", "live", "serve", "evaluate", "compare", "panel", "check mprt", "check drt", "check roar",
    "check max-sensitivity", "check arcc", "check focus", "check f-fidelity", "check leak",
    "train", "fit", "export", "layers", "audit",
}  # fmt: skip
CLASSIFIER = {
    "--classifier",
    "--weights",
    "--labels",
    "--mean",
    "--std",
    "--size",
    "--device",
    "--precision",
    "--import",
}


def found(name: str) -> Any:
    """The command that typer makes of one."""
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command


def flags(name: str) -> set[str]:
    return {flag for parameter in found(name).params for flag in parameter.opts}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_headings_and_an_example(name: str) -> None:
    page = call(*name.split(), "--help")
    assert page.exit_code == 0
    headings = [line[:-1] for line in page.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[-2:] == ["Output", "Example"] and len(headings) == len(set(headings))
    assert all(f"  {line}" in page.stdout for line in commands[name].example.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_a_call_of_the_command(name: str) -> None:
    for line in commands[name].example.splitlines():
        words = shlex.split(line.partition("|")[0])
        assert words[: 1 + len(name.split())] == ["maskwise", *name.split()]
        context = found(name).make_context(name, words[1 + len(name.split()) :])  # raises at a wrong option or value
        assert context.params


def test_commands_stand_in_sections() -> None:
    page = call("--help").stdout
    places = [page.index(f"\n{section}:") for section in SECTIONS]
    assert places == sorted(places)
    for section, start, end in zip(SECTIONS, places, [*places[1:], None], strict=True):
        there = [line.split()[0] for line in page[start:end].splitlines() if line.startswith("  ") and line[2] != " "]
        assert there == sorted({name.split()[0] for name in NAMES if commands[name].section == section})


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_groups_that_apply(name: str) -> None:
    assert flags(name) >= {"--quiet", "-q", "--verbose", "--no-progress"}
    assert ("--json" in flags(name)) == (name != "serve")
    assert (flags(name) >= CLASSIFIER) == (name in WITH_CLASSIFIER), CLASSIFIER - flags(name)
    assert ("--import" in flags(name)) == (name not in ("convert", "doctor"))


def test_a_command_is_one_file(tmp_path: Path) -> None:
    """A file beside the others is found, and nothing else names it."""
    code = """
import sys, maskwise.commands
maskwise.commands.__path__.append(sys.argv[1])
from maskwise.commands.registration import build
from typer.testing import CliRunner
app = build("maskwise", "")
print(CliRunner().invoke(app, ["greet", "--name", "you"]).stdout, end="")
"""
    (tmp_path / "greet.py").write_text('''
from typing import Annotated
import typer
from maskwise.commands.groups import Output
from maskwise.commands.registration import command

@command("greet", section="Explain", example="maskwise greet --name you")
def greet_command(name: Annotated[str, typer.Option("--name", help="Whom.")], *, output: Output) -> None:
    """Says hello."""
    output.tell({"hello": name}, lines=(f"hello {name}",))
''')
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "hello you\n"


def test_a_name_is_given_once() -> None:
    with pytest.raises(KeyError, match="twice"):
        registration.command("explain", section="Explain", example="")(print)


@pytest.mark.parametrize("name", ["explain", "check mprt"])
def test_only_the_command_that_is_called_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(registration, "ungrouped", lambda function: made.append(function) or ungrouped(function))
    group: Any = typer.main.get_command(registration.build("maskwise", ""))
    assert made == []
    page = CliRunner().invoke(registration.build("maskwise", ""), [*name.split(), "--help"])
    assert page.exit_code == 0 and made == [commands[name].function]
    made.clear()
    every = [c for one in group.commands.values() for c in getattr(one, "commands", {"": one}).values()]
    assert len(every) == len(commands) and set(made) == {one.function for one in commands.values()}


def test_help_is_quick() -> None:
    """What would take most of a second is not imported; the studies are a laboratory's and wait for their command."""
    heavy = ("torch", "numpy", "matplotlib", "timm", "rich", "scipy", "PIL", "lightning", "maskwise.studies", "yaml")
    code = f"import sys, maskwise.cli; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
