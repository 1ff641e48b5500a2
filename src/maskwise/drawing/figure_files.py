"""A figure as a file: its name's ending says what it is, a picture of pixels or of lines and text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "pdf", "svg", "jpg")
# Text stays text, to be searched and edited; and the same figure is the same file, whenever it is written.
VECTOR: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "maskwise"}
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def check_figure_path(path: str | Path) -> str:
    """What a figure of that name is written as: png, pdf, svg or jpg.

    Raises:
        InputError: another ending, or none.

    Example:
        >>> check_figure_path("maps.PDF"), check_figure_path("maps.jpeg")
        ('pdf', 'jpg')
    """
    ending = Path(path).suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    if ending not in FIGURE_FORMATS:
        *most, last = (f".{known}" for known in FIGURE_FORMATS)
        raise InputError(f"{Path(path).name}: a figure's name ends in {', '.join(most)} or {last}")
    return ending


def save_figure(figure: Figure, path: str | Path, dpi: float = 110) -> None:
    """Writes a figure atomically, as its name's ending says.

    Args:
        path: ends in .png, .pdf, .svg or .jpg.
        dpi: dots an inch, of the whole figure or, within a pdf or svg, of its pictures.

    Raises:
        InputError: another ending, or it can't be written.
    """
    kind = check_figure_path(path)
    with matplotlib.rc_context(VECTOR), atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=kind, metadata=METADATA.get(kind))
