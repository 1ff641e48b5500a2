"""The figure of a classifier panel: a dot for each classifier over each mask (CASM, Fig. 3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskwise.core.files import atomic_write
from maskwise.evaluation.panel import CONDITIONS, Panel


def panel_figure(panel: Panel, path: str | Path) -> None:
    """A PNG of three axes, one a condition: accuracy in percent, masks side by side, one colour a classifier.

    The line through a column's dots is their mean; dashes on the first axis are the accuracy on whole pictures.
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
            axis.plot(places, accuracy[:, c, condition], "o", color=colours[c], ms=6, label=classifier)
            if condition == 0:
                axis.axhline(clean[c], color=colours[c], lw=0.8, ls="--", zorder=0)
        mean = accuracy[:, :, condition].mean(1)
        axis.hlines(mean, np.arange(len(mean)) - 0.3, np.arange(len(mean)) + 0.3, color="black", lw=1)
        axis.set_title(name, fontsize=10)
        axis.set_xticks(range(len(panel.masks)), panel.masks, rotation=35, ha="right", fontsize=8)
        axis.set_ylim(-3, 103)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("accuracy, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
