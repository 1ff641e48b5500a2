"""``maskwise doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from maskwise.commands.groups import Output
from maskwise.commands.registration import command

SIGNS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "problem": "[bold red]problem[/bold red]"}


@command("doctor", section="What there is", example="maskwise doctor --offline")
def doctor_command(
    offline: Annotated[bool, typer.Option("--offline", help="Don't ask whether the hubs can be reached.")] = False,
    *,
    output: Output,
) -> None:
    """Versions, devices, weights and hubs, and what to do where something is amiss; exit 1 on a problem."""
    from rich.markup import escape
    from rich.table import Table

    from maskwise.doctor import examine

    found = examine(network=not offline)
    table = Table("what", "state", "found", "what to do", box=None)
    for f in found:
        table.add_row(escape(f.what), SIGNS[f.state], escape(f.found), escape(f.do))
    output.tell([f.plain() for f in found], table)
    if any(f.state == "problem" for f in found):
        raise typer.Exit(1)
