"""The pages of ``--help``: options and commands under headings, and an example."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

HEADINGS = ("Options", "Classifier", "Method", "SESS", "Measuring", "Training", "Device", "Your own code", "Output")


class GroupedOptions(TyperCommand):
    """A command with its options under the headings of their groups, and an example at the end."""

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
