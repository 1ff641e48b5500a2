"""``mw.show``: pictures and their maps as a figure that a notebook displays by itself."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from maskwise.box import as_maps, boxes
from maskwise.core.errors import InputError
from maskwise.drawing import HeatScale, check_display, check_figure_path, heat_scale, overlay, save_figure
from maskwise.drawing.colour_bar import css_gradient, draw_colour_bar
from maskwise.images import to_uint8
from maskwise.report.figure import shrunk
from maskwise.report.page_cards import shrunk_to, uri

SIDE = 320  # pixels of a picture's longer side in a notebook


@dataclass(frozen=True)
class Shown:
    """Pictures and maps side by side; the last line of a notebook's cell displays it.

    Attributes:
        images: (N,3,H,W).
        maps: (N,H,W) by name.
        titles: one a picture.
        strength: of the heat map in [0,1]; in a notebook a slider changes it.
        boxed: draw each map's box.
        display: how the maps' values become colours, see ``maskwise.drawing.heat_scale``.
    """

    images: Tensor
    maps: dict[str, Tensor]
    titles: tuple[str, ...]
    strength: float
    boxed: bool
    display: str = "auto"

    @cached_property
    def boxes(self) -> dict[str, list[list[int]]]:
        """(x0,y0,x1,y1) of each picture, by name."""
        return {name: boxes(maps).tolist() for name, maps in self.maps.items()}

    @cached_property
    def scales(self) -> dict[str, list[HeatScale]]:
        """The colours of each picture's map, by name."""
        return {name: [heat_scale(saliency, self.display) for saliency in maps] for name, maps in self.maps.items()}

    def _repr_html_(self) -> str:
        slide = "this.closest('.mw-show').style.setProperty('--s',this.value/100)"
        cell = "position:relative;margin:0;max-width:20rem"
        rows = ""
        for i, title in enumerate(self.titles):
            original = uri(to_uint8(shrunk_to(self.images[i], SIDE)))
            caption = f"<figcaption>{html.escape(title)}</figcaption>" if title else ""
            rows += f'<figure style="{cell}"><img src="{original}" alt="Original" style="width:100%">{caption}</figure>'
            for name, maps in self.maps.items():
                scale = self.scales[name][i]
                heat = uri((255 * scale.colours(shrunk_to(maps[i], SIDE))).round().astype(np.uint8))
                said = html.escape(name)
                rows += (
                    f'<figure style="{cell}"><div style="position:relative;line-height:0">'
                    f'<img src="{original}" alt="" style="width:100%;filter:grayscale(1)">'
                    f'<img src="{heat}" alt="Heat map {said}" '
                    'style="position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:var(--s)">'
                    f"{self._frame(name, i)}</div><figcaption>{said}{_bar(scale)}</figcaption></figure>"
                )
        columns = f"repeat({1 + len(self.maps)},minmax(0,1fr))"
        return (
            f'<div class="mw-show" style="--s:{self.strength}"><label>heat map <input type="range" min="0" max="100" '
            f'value="{100 * self.strength:.0f}" oninput="{slide}"></label>'
            f'<div style="display:grid;gap:.5rem;grid-template-columns:{columns}">{rows}</div></div>'
        )

    def _frame(self, name: str, i: int) -> str:
        x0, y0, x1, y1 = self.boxes[name][i]
        if not self.boxed or x1 <= x0:
            return ""
        height, width = self.images.shape[-2:]
        place = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        left, top, wide, high = (f"{100 * v:.2f}%" for v in place)
        style = f"position:absolute;box-sizing:border-box;left:{left};top:{top};width:{wide};height:{high}"
        return f'<div style="{style};border:2px solid #00e5a0"></div>'

    def _repr_png_(self) -> bytes:
        """For what displays no HTML: the same as one picture."""
        buffer = io.BytesIO()
        self._figure().savefig(buffer, dpi=100, format="png")
        return buffer.getvalue()

    def _figure(self) -> Figure:
        count, columns = len(self.images), 1 + len(self.maps)
        height, width = self.images.shape[-2:]
        cell = 2.4
        size = (cell * columns, count * (cell * min(max(height / width, 0.25), 2) + 0.6))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(count, columns, squeeze=False)
        extent = (0, width, height, 0)
        for i, title in enumerate(self.titles):
            axes[i, 0].imshow(to_uint8(shrunk(self.images[i])), extent=extent)
            axes[i, 0].set_title(title, fontsize=9, parse_math=False)
            for axis, (name, maps) in zip(axes[i, 1:], self.maps.items(), strict=True):
                scale = self.scales[name][i]
                coloured = overlay(shrunk(self.images[i]), shrunk(maps[i]), self.strength, scale)
                axis.imshow(coloured, extent=extent)
                axis.set_title(name, fontsize=9, parse_math=False)
                draw_colour_bar(axis, scale)
                x0, y0, x1, y1 = self.boxes[name][i]
                if self.boxed and x1 > x0:
                    frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="#00e5a0", linewidth=2)
                    axis.add_patch(frame)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
        return figure

    def save(self, path: str | Path, dpi: float = 100) -> None:
        """The figure as a file.

        Args:
            path: ends in .png, .pdf, .svg or .jpg, and is written as that; text in a pdf or svg stays text.
            dpi: dots an inch.

        Raises:
            InputError: another ending, or it can't be written.
        """
        check_figure_path(path)
        save_figure(self._figure(), path, dpi)


def _bar(scale: HeatScale) -> str:
    """The colours with the values at both ends, below a map."""
    low, high = scale.ends
    why = f" ({html.escape(scale.why)})" if scale.why else ""
    band = f"flex:0 1 6rem;height:.55em;border-radius:2px;background:{css_gradient(scale)}"
    return (
        f'<span style="display:flex;gap:.4em;align-items:center;font-size:.85em">{low}'
        f'<span style="{band}"></span>{high}{why}</span>'
    )


def show(
    images: Tensor,
    maps: Tensor | np.ndarray | Mapping[str, Tensor | np.ndarray],
    titles: Sequence[str] | None = None,
    strength: float = 0.55,
    boxes: bool = True,
    display: str = "auto",
) -> Shown:
    """A figure of pictures and their maps, which displays itself in a notebook.

    Args:
        images: (N,3,H,W) in [0,1], or one picture (3,H,W).
        maps: (N,H,W) in [0,1], or (H,W) for one picture; several methods' by name. Where signs mean something, in
            [-1,1]: such maps get two colours around 0, and the box of what is above it.
        titles: one a picture.
        strength: of the heat map over the picture, in [0,1].
        boxes: draw each map's box (binarise, largest component, tightest box).
        display: how values become colours, which each map's colour bar says. ``raw``: from 0 to 1; ``percentile P``:
            from 0 to the P-th percentile of that map; ``auto``: raw, or the 99th percentile where so few pixels
            stand out that the map would look black. The maps stay as they are.

    Raises:
        InputError: shapes that do not fit, a map that holds NaN, or an unknown ``display``.

    Example:
        >>> import torch
        >>> figure = show(torch.rand(2, 3, 8, 8), {"casm": torch.rand(2, 8, 8)})
    """
    check_display(display)
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images must be (N,3,H,W), not {tuple(images.shape)}")
    named = dict(maps) if isinstance(maps, Mapping) else {"heat map": maps}
    fitted = {}
    for name, given in named.items():
        found = as_maps(given[None] if given.ndim == 2 else given).detach().float().cpu().clamp(-1, 1)
        if (len(found), *found.shape[1:]) != (len(images), *images.shape[-2:]):
            raise InputError(f"{name}: maps {tuple(found.shape)} do not fit images {tuple(images.shape)}")
        fitted[name] = found
    if titles is not None and len(titles) != len(images):
        raise InputError(f"{len(titles)} titles were given for {len(images)} pictures")
    return Shown(images.detach().cpu(), fitted, tuple(titles or [""] * len(images)), strength, boxes, display)
