"""``maskwise doctor``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from maskwise.commands.options import Json
from maskwise.plain import speaks_plainly

SIGNS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "problem": "[bold red]problem[/bold red]"}


@speaks_plainly
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Don't ask whether the hubs can be reached.")] = False,
    as_json: Json = False,
) -> None:
    """Versions, devices, weights and hubs, and what to do where something is amiss; exit 1 on a problem."""
    from maskwise.doctor import examine

    found = examine(network=not offline)
    if as_json:
        typer.echo(json.dumps([f.plain() for f in found], indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table("", "what", "found", "what to do", box=None)
        for f in found:
            table.add_row(SIGNS[f.state], escape(f.what), escape(f.found), escape(f.do))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    if any(f.state == "problem" for f in found):
        raise typer.Exit(1)
