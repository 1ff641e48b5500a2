"""``maskwise demo``."""

from __future__ import annotations

from pathlib import Path

from maskwise.commands.explaining import Wanted, explain_pictures
from maskwise.commands.groups import MapFigures, Method, Model, Out, Output
from maskwise.commands.registration import command


@command("demo", section="Explain", example="maskwise demo --out demo")
def demo_command(out: Out = Path("demo"), *, model: Model, figures: MapFigures, output: Output) -> None:
    """The main job on the packaged pictures, offline: figures and a table."""
    from maskwise.images import packaged_pictures

    wanted = Wanted(page="plain", together=True)
    explain_pictures(packaged_pictures(), model, Method(), wanted, out, figures, output)
