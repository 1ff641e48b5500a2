"""How alike metrics rank: a page of Markdown, CSV, JSON and a figure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskwise.core.files import atomic_write
from maskwise.drawing import save_figure
from maskwise.drawing.matrix import draw_matrix
from maskwise.evaluation.agreement import MetricAgreement, by_chance

SHOWN = 3  # of the metrics most alike, and of those least
ABOVE = "above the diagonal over methods (Kendall's tau-b)"
BELOW = "below it over the pictures of a method (Spearman, mean over methods)"


def write_agreement(found: MetricAgreement, folder: Path, ending: str = "png", dpi: float = 110) -> None:
    """``agreement.md``, ``.csv``, ``.json``, and the matrix as a figure.

    Args:
        ending: of the figure: png, pdf, svg or jpg.
        dpi: dots an inch of it.
    """
    figure = f"agreement.{ending}"
    plain = {"protocol": found.protocol, "pictures": found.pictures, "cells": found.cells()}
    texts = {
        ".md": agreement_page(found, figure),
        ".csv": _csv(found),
        ".json": json.dumps(plain, indent=1, default=str, allow_nan=False) + "\n",
    }
    for suffix, text in texts.items():
        with atomic_write(folder / f"agreement{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    agreement_figure(found, folder / figure, dpi)


def agreement_figure(found: MetricAgreement, path: Path, dpi: float = 110) -> None:
    """The matrix: over methods above the diagonal, over pictures below it."""
    labels = [f"{name} *" if name in found.neither else name for name in found.metrics]
    long = 0.08 * max(map(len, labels))
    figure = Figure(figsize=(0.36 * len(labels) + long + 2.6, 0.26 * len(labels) + long + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    draw_matrix(axis, _matrix(found), labels, labels, "rank correlation")
    said = f"{ABOVE};\n{BELOW}"
    axis.set_xlabel(f"{said}\n* no better side, taken as it is" if found.neither else said, fontsize=8)
    save_figure(figure, path, dpi)


def agreement_page(found: MetricAgreement, figure: str) -> str:
    """Of each metric, which others rank methods most and least as it does; the matrix; what the numbers are."""
    methods, names = found.protocol["methods"], found.metrics
    data = "; ".join(f"{count:,} of {source}" for source, count in found.protocol["data"].items())
    lines = [
        "# Which metrics agree",
        "",
        "## In ranking methods",
        "",
        "| metric | pictures | most alike | least alike |",
        "|---|---|---|---|",
        *(f"| {name} | {found.pictures[name]} | {' | '.join(_ends(found, i))} |" for i, name in enumerate(names)),
        "",
        f"## The matrix: {ABOVE}, {BELOW}",
        "",
        f"![Rank correlations between metrics]({figure})",
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {name} | {' | '.join(row)} |" for name, row in zip(names, _texts(found), strict=True)),
        "",
        "## How",
        "",
        "- A metric of which less is better counts with its sign turned: 1 is the same order, -1 the reverse, 0 none.",
    ]
    if found.neither:
        lines.append(f"- No side of these is better, and they count as they are: {', '.join(found.neither)}.")
    chance = by_chance(len(methods))
    lines += [
        f"- Pictures: {data}, {found.protocol['resize']}. Class explained: {found.protocol['target']}, by "
        f"{found.protocol['classifier']}.",
        f"- Methods: {', '.join(methods)}.",
        f"- Unrelated rankings of {len(methods)} methods agree by -{chance:.2f} to {chance:.2f}, 19 times of 20. The "
        "intervals are over pictures, for these methods.",
        f"- Intervals: {found.protocol['interval']}. A resample is noisier than the data: they lean towards 0.",
    ]
    return "\n".join(lines) + "\n"


def _matrix(found: MetricAgreement) -> np.ndarray:
    values = np.where(
        np.triu(np.ones(found.over_methods.value.shape), 1) > 0, found.over_methods.value, found.over_pictures.value
    )
    np.fill_diagonal(values, math.nan)  # each with itself: nothing to see
    return values


def _texts(found: MetricAgreement) -> Iterator[list[str]]:
    for row in _matrix(found):
        yield ["" if math.isnan(value) else f"{value:.2f}" for value in row]


def _ends(found: MetricAgreement, row: int) -> Iterator[str]:
    """The metrics that rank methods most like this one, and those that do least."""
    numbers, names = found.over_methods, found.metrics
    values = numbers.value[row].tolist()
    ranked = sorted(
        (i for i, value in enumerate(values) if i != row and not math.isnan(value)), key=lambda i: -values[i]
    )
    most = min(SHOWN, max(len(ranked) // 2, 1))  # none on both sides
    for part in (ranked[:most], ranked[::-1][:most]):
        ends = {i: (float(numbers.low[row, i]), float(numbers.high[row, i])) for i in part}
        said = {i: "[-, -]" if math.isnan(low) else f"[{low:.2f}, {high:.2f}]" for i, (low, high) in ends.items()}
        yield ", ".join(f"{names[i]} {values[i]:.2f} {said[i]}" for i in part) or "-"


def _csv(found: MetricAgreement) -> str:
    text = io.StringIO()
    cells = found.cells()
    lines = csv.DictWriter(text, list(cells[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(cells)
    return text.getvalue()
