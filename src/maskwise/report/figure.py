"""Figures: the panel of CASM's Fig. 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from maskwise.core.text import printable
from maskwise.drawing.heat import HeatScale
from maskwise.drawing.sheet import DPI, Sheet, Spot, heat_picture
from maskwise.explain import Panels
from maskwise.images import resize, resize_maps

COLUMNS = ("original", "map", "masked-in", "masked-out", "inpainted masked-out", "box")
SHAPES = (0.25, 2.0)  # height / width that a cell may have; beyond it the picture stands in a cell of that shape
TITLE, BAR, CAPTION, GAP = 24, 20, 22, 5  # heights of the first line, of what is below a picture, and the gap between
WARNED = "#b3400f"
LONGEST = 640  # pixels of a drawn side: more can't be seen, and large photographs would be slow


def fig2(rows: Sequence[Panels], path: str | Path, cell: int = 230, dpi: float = DPI) -> None:
    """The panel: one row a picture, the columns of CASM's Fig. 2. Any size and aspect of picture.

    Args:
        rows: what to show.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        cell: a picture's width in hundredths of an inch.
        dpi: dots an inch.

    Raises:
        InputError: another ending, or it can't be written.
    """
    fig2_sheet(rows, cell).save(path, dpi)


def fig2_sheet(rows: Sequence[Panels], cell: int = 230) -> Sheet:
    """The panel in memory; arguments as ``fig2``."""
    below = [BAR + CAPTION * (1 + len(row.warnings)) for row in rows]
    heights = [round(cell * min(max(row.image.shape[-2] / row.image.shape[-1], SHAPES[0]), SHAPES[1])) for row in rows]
    sheet = Sheet(GAP + len(COLUMNS) * (cell + GAP), TITLE + sum(heights) + sum(below))
    lefts = [GAP + c * (cell + GAP) for c in range(len(COLUMNS))]
    for left, name in zip(lefts, COLUMNS, strict=True):
        sheet.text(name, left + cell / 2, TITLE / 2, 15, anchor="m")
    top = TITLE
    for row, height, lines in zip(rows, heights, below, strict=True):
        place = _place(row.image, (0, top, cell, height))
        heat = heat_picture(row.scale.colours(shrunk(row.map)))
        for left, picture in zip(
            lefts, (row.image, heat, row.masked_in, row.masked_out, row.inpainted, row.image), strict=True
        ):
            sheet.picture(picture, (left + place[0], *place[1:]))
        _frame(sheet, row, (lefts[-1] + place[0], *place[1:]))
        _bar(sheet, row.scale, lefts[1], top + height, cell)
        sheet.text(printable(row.caption), GAP, top + height + BAR + CAPTION / 2, 12)
        for i, warning in enumerate(row.warnings, 1):
            sheet.text(f"Warning: {printable(warning)}", GAP, top + height + BAR + CAPTION * (i + 0.5), 12, WARNED)
        top += height + lines
    return sheet


def _place(picture: Tensor, cell: Spot) -> Spot:
    """Where a picture (…,H,W) stands in a cell, as large as it can be, in whole pixels."""
    left, top, width, height = cell
    scale = min(height / picture.shape[-2], width / picture.shape[-1])
    tall, wide = (max(round(side * scale), 1) for side in picture.shape[-2:])
    return left + (width - wide) // 2, top + (height - tall) // 2, wide, tall


def _bar(sheet: Sheet, scale: HeatScale, left: float, top: float, width: float) -> None:
    """The colours of a map with the values at their ends, below it."""
    low, high = scale.ends
    middle, begin, end = top + BAR / 2 + 1, left + 8 * len(low) + 4, left + 0.45 * width
    sheet.text(low, left, middle, 11)
    sheet.picture(heat_picture(scale.bar()[None]), (begin, middle - 4, end - begin, 8))
    sheet.text(f"{high} ({scale.why})" if scale.why else high, end + 4, middle, 11)


def _frame(sheet: Sheet, row: Panels, place: Spot) -> None:
    """The row's box around its place in a picture that is drawn at ``place``."""
    x0, y0, x1, y1 = row.box
    if x1 > x0:
        left, top, width, height = place
        across, down = width / row.image.shape[-1], height / row.image.shape[-2]
        low = left + round(x0 * across) - 1, top + round(y0 * down) - 1
        sheet.frame((*low, round(x1 * across) - round(x0 * across) + 2, round(y1 * down) - round(y0 * down) + 2),
                    "#00e5a0")  # fmt: skip


def small_panels(row: Panels) -> Panels:
    """The row as ``fig2`` draws it, with no more pixels than it shows, so that many may wait for one figure."""
    height, width = row.image.shape[-2:]
    image = shrunk(row.image)
    down, across = image.shape[-2] / height, image.shape[-1] / width
    x0, y0, x1, y1 = row.box
    return replace(
        row, image=image, map=shrunk(row.map), masked_in=shrunk(row.masked_in), masked_out=shrunk(row.masked_out),
        inpainted=shrunk(row.inpainted),
        box=(round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down)),
    )  # fmt: skip


def shrunk(picture: Tensor) -> Tensor:
    """A picture (3,H,W) or map (H,W), shrunk to ``LONGEST`` where it is larger."""
    height, width = picture.shape[-2:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return picture
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    return resize_maps(picture, size) if picture.ndim == 2 else resize(picture[None], size)[0]
