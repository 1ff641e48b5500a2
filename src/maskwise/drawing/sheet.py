"""A page of pictures, put together by hand: a plotting library takes many times as long over its layout.

It is written as pixels, or as a drawing whose text is text: the same places either way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maskwise.core.files import atomic_write
from maskwise.drawing.figure_files import check_figure_path, save_figure
from maskwise.drawing.overlay import FONT
from maskwise.images import resize, to_uint8

DPI = 100  # at which a place's unit is a pixel
Spot = tuple[float, float, float, float]  # left, top, width, height
ANCHORS = {"l": "left", "m": "center", "r": "right"}


@dataclass
class Sheet:
    """Pictures, lines of text and frames at their places, in hundredths of an inch from the upper left corner.

    Attributes:
        width, height: of the page.
    """

    width: float
    height: float
    pictures: list[tuple[Tensor, Spot]] = field(default_factory=list)
    lines: list[tuple[str, float, float, float, str, str]] = field(default_factory=list)
    frames: list[tuple[Spot, str, float]] = field(default_factory=list)

    def picture(self, picture: Tensor, place: Spot) -> None:
        """A picture (3,H,W) in [0,1], to fill its place."""
        self.pictures.append((picture, place))

    def text(self, text: str, x: float, y: float, size: float, colour: str = "black", anchor: str = "l") -> None:
        """A line of text whose middle is as high as ``y``; ``anchor`` says what lies at ``x``: l, m or r."""
        self.lines.append((text, x, y, size, colour, anchor))

    def frame(self, place: Spot, colour: str, width: float = 3) -> None:
        """A rectangle's outline; the line lies inside its edges."""
        self.frames.append((place, colour, width))

    def save(self, path: str | Path, dpi: float = DPI) -> None:
        """Writes the page atomically; its name ends in .png, .pdf, .svg or .jpg.

        Args:
            dpi: dots an inch, of the page or, within a pdf or svg, of its pictures, which there are at least 200.

        Raises:
            InputError: another ending, or it can't be written.
        """
        kind = check_figure_path(path)
        if kind in ("pdf", "svg"):
            save_figure(self._as_figure(max(dpi, 2 * DPI)), path, max(dpi, 2 * DPI))
            return
        page = self.as_image(dpi / DPI)
        with atomic_write(path) as temporary:
            if kind == "png":
                page.save(temporary, "png", compress_level=3, dpi=(dpi, dpi))
            else:
                page.save(temporary, "jpeg", quality=92, dpi=(dpi, dpi))

    def as_image(self, scale: float = 1.0) -> Image.Image:
        """The page in memory, ``scale`` hundred dots an inch."""
        page = Image.new("RGB", (round(scale * self.width), round(scale * self.height)), "white")
        draw = ImageDraw.Draw(page)
        for picture, (left, top, width, height) in self.pictures:
            sized = _sized(picture, scale * width, scale * height)
            page.paste(Image.fromarray(sized), (round(scale * left), round(scale * top)))
        for (left, top, width, height), colour, line in self.frames:
            edges = [round(scale * v) for v in (left, top, left + width, top + height)]
            draw.rectangle(edges, outline=colour, width=max(round(scale * line), 1))
        for text, x, y, size, colour, anchor in self.lines:
            font = ImageFont.truetype(str(FONT), round(scale * size))
            draw.text((scale * x, scale * y), text, colour, font, anchor=f"{anchor}m")
        return page

    def _as_figure(self, dpi: float) -> Figure:
        figure = Figure(figsize=(self.width / DPI, self.height / DPI))
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        axis.axis("off")
        for picture, (left, top, width, height) in self.pictures:
            sized = _sized(picture, width * dpi / DPI, height * dpi / DPI)
            axis.imshow(sized, extent=(left, left + width, top + height, top), interpolation="none", aspect="auto")
        axis.set(xlim=(0, self.width), ylim=(self.height, 0))
        points = 72 / DPI
        for (left, top, width, height), colour, line in self.frames:
            inside = (left + line / 2, top + line / 2)
            wide, high = width - line, height - line
            axis.add_patch(Rectangle(inside, wide, high, fill=False, edgecolor=colour, linewidth=line * points))
        for text, x, y, size, colour, anchor in self.lines:
            axis.text(x, y, text, size=size * points, color=colour, ha=ANCHORS[anchor], va="center", parse_math=False)
        return figure


def _sized(picture: Tensor, width: float, height: float) -> np.ndarray:
    """(h,w,3) uint8 of that size, with sharp pixels where they are large."""
    size = max(round(height), 1), max(round(width), 1)
    planes = picture[None]
    large = size[0] >= 3 * picture.shape[-2] and size[1] >= 3 * picture.shape[-1]
    return to_uint8((F.interpolate(planes, size, mode="nearest-exact") if large else resize(planes, size))[0])


def heat_picture(colours: np.ndarray) -> Tensor:
    """(3,H,W) of colours (H,W,3) in [0,1], as a sheet takes pictures."""
    return torch.from_numpy(np.ascontiguousarray(colours.astype(np.float32))).permute(2, 0, 1)
