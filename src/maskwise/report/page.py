"""The report: one HTML file that needs nothing beside it and opens from anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from maskwise.core.files import atomic_write
from maskwise.drawing.heat import RAW, HeatScale
from maskwise.report.document import templates
from maskwise.report.page_cards import Answer, card

__all__ = ["Answer", "card", "write"]


def write(
    cards: Sequence[Mapping[str, Any]],
    path: str | Path,
    title: str = "What does the classifier use?",
    board: Sequence[Mapping[str, Any]] = (),
    colour: Sequence[float] = (0.5, 0.5, 0.5),
    protocol: Mapping[str, Any] | None = None,
    leaderboard: Markup | None = None,
) -> None:
    """Writes the page, atomically.

    Args:
        cards: pictures, as ``card`` gives them; plain data throughout.
        path: ends in .html.
        title: the page's heading.
        board: rows of the leaderboard, each a dictionary of the same columns; numbers sort as numbers. Where there
            is none the page sums the cards up by method.
        colour: (r,g,b) in [0,1], or one value for grey: what fills the hole of the masked pictures.
        protocol: settings behind the numbers, shown at the end.
        leaderboard: of a comparison, instead of ``board``, as ``leaderboard_part`` gives it.

    Example:
        >>> import tempfile, torch
        >>> m = torch.rand(8, 8)
        >>> shown = card("dog.jpg", torch.rand(3, 8, 8), [Answer("casm", m, m > 0.5, (1, 1, 5, 6))])
        >>> write([shown], Path(tempfile.mkdtemp()) / "report.html")
    """
    data = {
        "cards": list(cards),
        "board": [dict(row) for row in board],
        "colour": [round(255 * min(max(float(c), 0), 1)) for c in (colour if len(colour) > 1 else 3 * list(colour))],
        "heat": (255 * RAW.bar()).round().astype(int).tolist(),
        "diverging": (255 * HeatScale(signed=True).bar()).round().astype(int).tolist(),
    }
    text = (
        templates()
        .get_template("page.html")
        .render(
            title=_plain(title),
            data=_island(data),
            leaderboard=leaderboard,
            protocol=json.dumps(protocol, indent=2, default=str) if protocol else "",
        )
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _island(data: Any) -> Markup:
    """JSON that can stand within a script element: not even a file called </script> ends the element."""
    text = json.dumps(_plain(data), separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _plain(value: Any) -> Any:
    """What JSON holds: a number that is none becomes null, and half of a broken pair of UTF-16 a question mark."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a file name that is no UTF-8 comes with lone surrogates
    return value
