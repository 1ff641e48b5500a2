"""The pages of ``--help``: options and commands under headings, and an example; options that take several words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

HEADINGS = ("Options", "Classifier", "Method", "SESS", "Measuring", "Training", "Device", "Your own code", "Output")
SEVERAL = ("--texts",)  # options that take several words


class GroupedOptions(TyperCommand):
    """A command with its options under the headings of their groups, and an example at the end."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of ``SEVERAL`` may stand one after another."""
        return super().parse_args(ctx, with_several(args))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then each heading with its options; one that is not known comes before the last."""
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                heading = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
                found.setdefault("Output" if parameter.name == "help" else heading, []).append(record)
        known = ("Arguments", *HEADINGS)
        for heading in sorted(found, key=lambda name: known.index(name) if name in known else len(known) - 1.5):
            with formatter.section(heading):
                formatter.write_dl(found[heading])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The example, whose lines stay as they are, so that they can be copied."""
        if self.epilog:
            with formatter.section("Example"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def with_several(args: list[str], options: tuple[str, ...] = SEVERAL) -> list[str]:
    """Arguments in which each word of such an option has the option before it, as click wants it.

    Its words end at the next option, or, after the first one, at a file or folder, which the command itself takes.

    Example:
        >>> with_several(["--texts", "a cat", "a dog", "--out", "there"])
        ['--texts', 'a cat', '--texts', 'a dog', '--out', 'there']
    """
    found: list[str] = []
    current, count = "", 0
    for i, word in enumerate(args):
        if word == "--":
            return found + args[i:]
        if word.startswith("-") and len(word) > 1:
            current, count = (word if word in options else ""), 0
        elif current:
            if count and Path(word).exists():
                current = ""
            elif count:
                found.append(current)
            count += 1
        found.append(word)
    return found


class SectionedCommands(TyperGroup):
    """A group with its commands under the headings of their sections."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each section with its commands and their first sentence."""
        names = self.list_commands(ctx)
        width = max(map(len, names), default=0)
        found: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            command: Any = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                told = command.get_short_help_str(formatter.width - 6 - width)
                section = getattr(command, "rich_help_panel", None)
                heading = section if isinstance(section, str) else "Commands"
                found.setdefault(heading, []).append((name.ljust(width), told))
        for heading, rows in found.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
