"""Figure of the leak check: what its own judge gains by each method's masks, and how both judges answer."""

from __future__ import annotations

from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskwise.checks.intervals import MeanInterval
from maskwise.checks.leak_result import BLOBS, OTHER, OWN, SAME, SQUARE, LeakResult
from maskwise.drawing import save_figure
from maskwise.drawing.marks import style_of

SHORT = {OWN: "its mask", SQUARE: "centre\nsquare", BLOBS: "random\nblobs", SAME: "mask of the\nsame class",
         OTHER: "mask of\nanother"}  # fmt: skip


def leak_figure(result: LeakResult, path: str | Path, dpi: float = 110) -> None:
    """On the left the gaps, on the right what both judges name by what is kept.

    Args:
        result: of ``leak``.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        dpi: dots an inch.
    """
    count = len(result.summaries)
    with matplotlib.style.context({"text.parse_math": False}):  # a method's name may hold a $
        figure = Figure(figsize=(11, 1.35 * count + 1.7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(count, 2, squeeze=False, width_ratios=[1, 1.25], sharex="col")
        for (left, right), summary in zip(axes, result.summaries, strict=True):
            found = {f"against {name}": gap for name, gap in summary.gaps.items()}
            _gaps(left, {**found, "borrowed masks": summary.borrowed}, float(result.protocol["bound"]))
            left.set_title(f"{summary.method}: {summary.answer}", fontsize=10, loc="left")
            _accuracies(right, result, summary.method)
        axes[-1][0].set_xlabel("gain of its own judge over the robust one, in accuracy; dashed: the bound", fontsize=9)
        axes[0][1].set_title("accuracy on what is kept, %", fontsize=10, loc="left")
        axes[0][1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
        facts = result.protocol
        figure.suptitle(f"{facts['classifier']}, {facts['pictures']} pictures, 95% intervals", fontsize=10)
        save_figure(figure, path, dpi)


def _gaps(axis: Axes, gaps: dict[str, MeanInterval], bound: float) -> None:
    for place, gap in enumerate(gaps.values()):
        axis.plot([gap.low, gap.high], [place, place], color=style_of(0)["color"], linewidth=2)
        axis.plot([gap.mean], [place], "o", color=style_of(0)["color"])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.axvline(bound, color="0.4", linewidth=0.8, linestyle="--")
    axis.set_yticks(range(len(gaps)), list(gaps), fontsize=8)
    axis.set_ylim(len(gaps) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _accuracies(axis: Axes, result: LeakResult, method: str) -> None:
    for number, judge in enumerate(("own", "robust")):
        rows = {row.masks: row.accuracy for row in result.rows
                if (row.method, row.kept, row.judge) == (method, "in", judge)}  # fmt: skip
        style = {**style_of(number), "linestyle": "none"}
        places = [k + (number - 0.5) * 0.16 for k in range(len(SHORT))]
        means = [100 * rows[masks].mean for masks in SHORT]
        for place, masks in zip(places, SHORT, strict=True):
            axis.plot([place, place], [100 * rows[masks].low, 100 * rows[masks].high], color=style["color"])
        axis.plot(places, means, label=f"{judge} judge", markersize=5, **style)
    axis.set_xticks(range(len(SHORT)), list(SHORT.values()), fontsize=8)
    axis.set_ylim(0, 104)  # a mark at 100 stays whole
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
