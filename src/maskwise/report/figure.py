"""Figures: the panel of CASM's Fig. 2, and a map laid over its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maskwise.core.files import atomic_write
from maskwise.core.text import printable
from maskwise.drawing import FONT
from maskwise.explain import Panels
from maskwise.images import resize, to_uint8

COLUMNS = ("original", "map", "masked-in", "masked-out", "inpainted masked-out", "box")
SHAPES = (0.25, 2.0)  # height / width that a cell may have; beyond it the picture stands in a cell of that shape
TITLE, CAPTION, GAP = 24, 22, 5  # pixels of the first line, of the line below a picture, and between pictures
WARNED = "#b3400f"
LONGEST = 640  # pixels of a drawn side: more can't be seen, and large photographs would be slow


def fig2(rows: Sequence[Panels], path: str | Path, cell: int = 230) -> None:
    """The panel as a PNG: one row a picture, the columns of CASM's Fig. 2. Any size and aspect of picture.

    Put together by hand, since a plotting library takes many times as long over it as a masker over its map.

    Args:
        rows: what to show.
        path: ends in .png; written atomically.
        cell: pixels of a picture's width.
    """
    page = fig2_image(rows, cell)
    with atomic_write(path) as temporary:
        page.save(temporary, "png", compress_level=3)


def fig2_image(rows: Sequence[Panels], cell: int = 230) -> Image.Image:
    """The panel in memory; arguments as ``fig2``."""
    below = [CAPTION * (1 + len(row.warnings)) for row in rows]
    heights = [round(cell * min(max(row.image.shape[-2] / row.image.shape[-1], SHAPES[0]), SHAPES[1])) for row in rows]
    size = (GAP + len(COLUMNS) * (cell + GAP), TITLE + sum(heights) + sum(below))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    title, small = (ImageFont.truetype(str(FONT), pixels) for pixels in (15, 12))
    lefts = [GAP + c * (cell + GAP) for c in range(len(COLUMNS))]
    for left, name in zip(lefts, COLUMNS, strict=True):
        draw.text((left + cell / 2, TITLE / 2), name, "black", title, anchor="mm")
    top = TITLE
    for row, height, lines in zip(rows, heights, below, strict=True):
        pictures = (row.image, row.map, row.masked_in, row.masked_out, row.inpainted, row.image)
        for left, picture in zip(lefts, pictures, strict=True):
            drawn = _fitted(picture, cell, height)
            corner = (left + (cell - drawn.width) // 2, top + (height - drawn.height) // 2)
            page.paste(drawn, corner)
        _frame(draw, row, corner, drawn.size)  # the last column's
        draw.text((GAP, top + height + CAPTION / 2), printable(row.caption), "black", small, anchor="lm")
        for i, warning in enumerate(row.warnings, 1):
            said = f"Warning: {printable(warning)}"
            draw.text((GAP, top + height + CAPTION * (i + 0.5)), said, WARNED, small, anchor="lm")
        top += height + lines
    return page


def _fitted(picture: Tensor, width: int, height: int) -> Image.Image:
    """A picture (3,H,W), or a map (H,W) in colour, as large as it can be, with sharp pixels where they are large."""
    scale = min(height / picture.shape[-2], width / picture.shape[-1])
    tall, wide = (max(round(side * scale), 1) for side in picture.shape[-2:])
    planes = picture.reshape(1, -1, *picture.shape[-2:])
    sized = F.interpolate(planes, (tall, wide), mode="nearest-exact") if scale >= 3 else resize(planes, (tall, wide))
    if picture.ndim == 3:
        return Image.fromarray(to_uint8(sized[0]))
    return Image.fromarray(colormaps["inferno"](sized[0, 0].cpu().numpy(), bytes=True)[..., :3])


def _frame(draw: ImageDraw.ImageDraw, row: Panels, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """The row's box around its place in a picture that is drawn at ``corner`` with ``size``."""
    x0, y0, x1, y1 = row.box
    if x1 > x0:
        across, down = size[0] / row.image.shape[-1], size[1] / row.image.shape[-2]
        low = (corner[0] + round(x0 * across) - 1, corner[1] + round(y0 * down) - 1)
        high = (corner[0] + round(x1 * across) + 1, corner[1] + round(y1 * down) + 1)
        draw.rectangle((low, high), outline="#00e5a0", width=3)


def shrunk(picture: Tensor) -> Tensor:
    """A picture (3,H,W) or map (H,W), shrunk to ``LONGEST`` where it is larger."""
    height, width = picture.shape[-2:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return picture
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    return resize(picture.reshape(1, -1, height, width), size).reshape(*picture.shape[:-2], *size)
