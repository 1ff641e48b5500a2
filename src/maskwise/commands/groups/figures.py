"""As what figures are written, and how maps are coloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from maskwise.commands.groups.output import HEADING
from maskwise.core.options import one_of


@dataclass(frozen=True)
class Figures:
    """Figures as files."""

    heading: ClassVar[str] = HEADING
    format: Annotated[str, typer.Option("--format", help="Of figures: png, pdf, svg or jpg.")] = "png"
    dpi: Annotated[
        int, typer.Option("--dpi", min=30, max=1200, help="Dots an inch of figures; in pdf and svg of their pictures.")
    ] = 110

    def check(self) -> None:
        """Before any work.

        Raises:
            InputError: there is no such format, or display.
        """
        from maskwise.drawing import FIGURE_FORMATS

        one_of("`format`", self.format, FIGURE_FORMATS)


@dataclass(frozen=True)
class MapFigures(Figures):
    """Figures of maps."""

    display: Annotated[
        str,
        typer.Option(
            "--display",
            help="Colours of maps: raw (0 to 1), 'percentile P', or auto: the 99th where a map would look black.",
        ),
    ] = "auto"

    def check(self) -> None:
        from maskwise.drawing import check_display

        super().check()
        check_display(self.display)
