"""What tells lines and dots apart beside their colours, for who sees none or prints without."""

from __future__ import annotations

from typing import Any

MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))
# Okabe and Ito's, which the colour-blind tell apart, without their yellow, which paper hides.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444", "#000000")


def style_of(number: int) -> dict[str, Any]:
    """Colour, mark and dashes of a figure's n-th line, as matplotlib takes them."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKS[number % len(MARKS)],
        "linestyle": DASHES[number % len(DASHES)],
    }
