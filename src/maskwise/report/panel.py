"""The figure of a classifier panel: a dot for each classifier over each mask (CASM, Fig. 3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskwise.drawing import save_figure
from maskwise.drawing.marks import MARKS
from maskwise.evaluation.panel import CONDITIONS, Panel

BETTER = {"masked-in": "higher is better", "masked-out": "lower is better", "inpainted masked-out": "lower is better"}


def panel_figure(panel: Panel, path: str | Path, dpi: float = 110) -> None:
    """Three axes, one a condition: accuracy in percent, masks side by side, a colour and a mark a classifier.

    The line through a column's marks is their mean; dashes on the first axis are the accuracy on whole pictures.

    Args:
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        dpi: dots an inch.

    Raises:
        InputError: another ending, or it can't be written.
    """
    accuracy = panel.accuracy.numpy()
    clean = 100 * panel.clean.double().mean(-1).numpy()
    width = max(1.1 * len(panel.masks), 3.5)
    figure = Figure(figsize=(3 * width + 2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(CONDITIONS), sharey=True)
    colours = colormaps["viridis"](np.linspace(0.05, 0.9, len(panel.classifiers)))
    shift = np.linspace(-0.18, 0.18, len(panel.classifiers)) if len(panel.classifiers) > 1 else np.zeros(1)
    for axis, condition, name in zip(axes, range(len(CONDITIONS)), CONDITIONS, strict=True):
        for c, classifier in enumerate(panel.classifiers):
            places = np.arange(len(panel.masks)) + shift[c]
            mark = MARKS[c % len(MARKS)]
            axis.plot(places, accuracy[:, c, condition], mark, color=colours[c], ms=6, label=classifier)
            if condition == 0:
                axis.axhline(clean[c], color=colours[c], lw=0.8, ls="--", zorder=0)
        mean = accuracy[:, :, condition].mean(1)
        axis.hlines(mean, np.arange(len(mean)) - 0.3, np.arange(len(mean)) + 0.3, color="black", lw=1)
        axis.set_title(f"{name}: {BETTER[name]}", fontsize=10)
        axis.set_xticks(range(len(panel.masks)), panel.masks, rotation=35, ha="right", fontsize=8)
        axis.set_ylim(-3, 103)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("accuracy, % of the pictures")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside right center",
        fontsize=8,
        frameon=False,
        title="classifier",
        title_fontsize=8,
    )
    save_figure(figure, path, dpi)
