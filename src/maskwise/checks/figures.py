"""Figures of the sanity checks: similarity against layers, maps side by side, accuracy against removed pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from maskwise.checks.results import (
    RANDOM_REMOVAL,
    TRUE_LABELS,
    WHOLE,
    DrtResult,
    MprtResult,
    RoarResult,
    RoarRow,
)
from maskwise.drawing import save_figure
from maskwise.drawing.bare import bare
from maskwise.drawing.heat import RAW
from maskwise.drawing.marks import DASHES, MARKS, style_of
from maskwise.images import to_uint8

TITLES = {"spearman": "Spearman", "spearman_abs": "Spearman, abs", "hog": "HOG", "ssim": "SSIM"}
COLOURS = {"spearman": "#1f5fbf", "spearman_abs": "#e08214", "hog": "#2a9d5c", "ssim": "#c02942"}
STYLES = {name: (MARKS[i], DASHES[i]) for i, name in enumerate(COLOURS)}
MODE_TITLES = {"cascading": "all layers from the output to here", "independent": "this layer alone"}
STRETCHED = "Each map from its 1st to its 99th percentile"  # what ``_stretched`` does
MOST_STAGES = 14  # maps in a strip: more are too small to be seen


def mprt_figure(result: MprtResult, path: str | Path, dpi: float = 110) -> None:
    """For each mode similarity against the layers, and the maps of some pictures at each stage.

    Args:
        result: of ``mprt``.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        dpi: dots an inch.
    """
    modes = list(result.maps)
    shown = _stages(len(result.layers))
    width = max(0.62 * (len(shown) + 1) + 1.2, 4.6 * len(modes))
    strips = len(modes) * len(result.examples)
    cell = width / (len(shown) + 1)
    figure = Figure(figsize=(width, 3.9 + strips * cell + 0.55 * len(modes)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(
        1 + len(modes), 1, height_ratios=[3.9, *[len(result.examples) * cell + 0.55] * len(modes)]
    )
    axes = parts[0].subplots(1, len(modes), squeeze=False, sharey=True)[0]
    for axis, mode in zip(axes, modes, strict=True):
        _similarities_by_layer(axis, result, mode)
        axis.set_title(f"{mode}: {MODE_TITLES[mode]}", fontsize=10)
    axes[0].set_ylabel("similarity to the trained network's map,\n1 is the same: lower is better", fontsize=9)
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8,
                    title="similarity, with 95% interval", title_fontsize=8)  # fmt: skip
    facts = result.protocol
    counted = f"{facts['pictures']} picture{'s' * (facts['pictures'] != 1)}"
    parts[0].suptitle(
        f"{_called(facts['explainer'])} on {facts['classifier']}, {counted}", fontsize=11, parse_math=False
    )
    names = ["picture", *(["trained", *result.layers][i] for i in shown)]
    for part, mode in zip(parts[1:], modes, strict=True):
        part.suptitle(f"{mode}: the map once the layer is random. {STRETCHED}", fontsize=9)
        rows = [
            [to_uint8(image), *(_stretched(result.maps[mode][i, e]) for i in shown)]
            for e, image in enumerate(result.examples)
        ]
        _strip(part, names, rows)
    save_figure(figure, path, dpi)


def drt_figure(result: DrtResult, path: str | Path, dpi: float = 110) -> None:
    """For each method its similarities as points with intervals, and maps by each classifier.

    Args:
        result: of ``drt``.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        dpi: dots an inch.
    """
    methods = list(result.maps)
    columns = 1 + len(result.trainings)
    height = len(result.examples) * 1.15 + 0.6
    figure = Figure(figsize=(4.4 + 1.15 * columns, len(methods) * height + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(len(methods), 2, squeeze=False, width_ratios=[4.4, 1.15 * columns])
    for row, method in zip(parts, methods, strict=True):
        _similarities_by_labels(row[0].subplots(), result, method)
        maps = result.maps[method]
        names = ["picture", *(_training(which, result.trainings[which]) for which in maps)]
        cells = [
            [to_uint8(image), *(_stretched(found[e]) for found in maps.values())]
            for e, image in enumerate(result.examples)
        ]
        row[1].suptitle(STRETCHED, fontsize=7)
        _strip(row[1], names, cells)
    save_figure(figure, path, dpi)


def roar_figure(result: RoarResult, path: str | Path, dpi: float = 110) -> None:
    """Test accuracy of fresh networks against the share of pixels removed, one line a method.

    Args:
        result: of ``roar``.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        dpi: dots an inch.
    """
    kinds = ("top1",) if result.classes <= 5 else ("top1", "top5")
    figure = Figure(figsize=(4.6 * len(kinds) + 1.2, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(kinds), squeeze=False)[0]
    methods = list(dict.fromkeys(row.method for row in result.rows if row.method != WHOLE))
    whole = [row for row in result.rows if row.method == WHOLE]
    for axis, kind in zip(axes, kinds, strict=True):
        for number, method in enumerate(methods):
            _accuracy(axis, method, [*whole, *(row for row in result.rows if row.method == method)], kind, number)
        chance = 100 * min(1 if kind == "top1" else 5, result.classes) / result.classes
        axis.axhline(chance, color="0.6", linewidth=0.8, linestyle=":")
        axis.annotate("chance", (0, chance), (2, 2), textcoords="offset points", fontsize=7, color="0.45")
        axis.set_xlabel("pixels removed, %")
        axis.set_ylabel(f"test {kind.replace('top', 'top-')} accuracy, %: lower than random is better", fontsize=9)
        axis.set_xlim(0, max(100.0, *(row.removed for row in result.rows)))
        axis.spines[["top", "right"]].set_visible(False)
    legend = axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8,
                             title="pixels removed by", title_fontsize=8)  # fmt: skip
    _literal(legend)
    save_figure(figure, path, dpi)


def _called(identity: Mapping[str, Any]) -> str:
    """The method of an explainer's identity, or the function, and SESS around it."""
    if "sess" in identity:
        return f"{_called(identity['of'])} + SESS"
    return str(identity.get("method", identity.get("function", "explainer")))


def _similarities_by_layer(axis: Axes, result: MprtResult, mode: str) -> None:
    names = list(dict.fromkeys(row.similarity for row in result.rows))
    places = np.arange(len(result.layers))
    for name in names:
        values = [row.value for row in result.rows if row.mode == mode and row.similarity == name]
        low, high = [v.low for v in values], [v.high for v in values]
        colour, (mark, dashes) = COLOURS.get(name), STYLES.get(name, (".", "-"))
        (line,) = axis.plot(
            places, [v.mean for v in values], marker=mark, markersize=3.5, linewidth=1.3, color=colour,
            linestyle=dashes, label=TITLES.get(name, name),
        )  # fmt: skip
        axis.fill_between(places, low, high, color=line.get_color(), alpha=0.13, linewidth=0)
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set_xticks(places, result.layers, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axis.set_ylim(min(-0.25, *(row.value.low - 0.05 for row in result.rows)), 1.05)
    axis.spines[["top", "right"]].set_visible(False)


def _similarities_by_labels(axis: Axes, result: DrtResult, method: str) -> None:
    rows = [row for row in result.rows if row.method == method]
    names = list(dict.fromkeys(row.similarity for row in rows))
    groups = list(dict.fromkeys(row.against for row in rows))
    for g, against in enumerate(groups):
        values = [row.value for row in rows if row.against == against]
        places = np.arange(len(names)) + 0.22 * (g - (len(groups) - 1) / 2)
        means = np.array([v.mean for v in values])
        errors = np.abs(np.array([[v.low for v in values], [v.high for v in values]]) - means)
        axis.errorbar(
            places, means, errors, fmt="o" if g == 0 else "s", markersize=5, capsize=2, linewidth=1.2,
            color="#c02942" if g == 0 else "0.55", label=f"{TRUE_LABELS} against {against}",
        )  # fmt: skip
    axis.axhline(0, color="0.7", linewidth=0.8)
    axis.set_xticks(range(len(names)), [TITLES.get(name, name) for name in names], fontsize=8)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_ylim(min(-0.25, *(row.value.low - 0.05 for row in rows)), 1.05)
    axis.set_ylabel("similarity of maps, 1 is the same:\nlower is better for random labels", fontsize=8)
    axis.set_title(method, fontsize=10, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=7, loc="best")


def _accuracy(axis: Axes, method: str, rows: Sequence[RoarRow], kind: str, number: int) -> None:
    share = [row.removed for row in rows]
    values = [np.array(getattr(row, kind)) for row in rows]
    mean = np.array([v.mean() for v in values])
    spread = np.array([v.std(ddof=1) if len(v) > 1 else 0.0 for v in values])
    random = method == RANDOM_REMOVAL
    style: dict[str, Any] = {**style_of(number), **({"color": "0.35"} if random else {})}
    (line,) = axis.plot(share, mean, markersize=3.5, linewidth=1.4, label=method, **style)
    axis.fill_between(share, mean - spread, mean + spread, color=line.get_color(), alpha=0.13, linewidth=0)


def _stages(layers: int) -> list[int]:
    """Which maps of 0 (trained) … ``layers`` are shown: all, or the first, the last and an even choice between."""
    count = min(layers + 1, MOST_STAGES)
    return sorted({round(i * layers / max(count - 1, 1)) for i in range(count)})


def _training(which: str, reached: dict[str, float]) -> str:
    return f"{which}\ntrain {reached['train']:.0f}%, test {reached['test']:.0f}%"


def _stretched(saliency: Tensor) -> np.ndarray:
    """A map (H,W) of any values to [0,1] for the eye: from its 1st to its 99th percentile, so that no pixel hides all.

    Where hardly any pixels are not the background, from the lowest value to the highest.
    """
    values = saliency.numpy()
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        low, high = values.min(), values.max()
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _strip(part: Any, names: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> None:
    """Pictures and maps in rows, a name above each column, and a colour bar beside the last map."""
    axes = part.subplots(len(rows), len(names), squeeze=False)
    for r, row in enumerate(rows):
        for axis, name, picture in zip(axes[r], names, row, strict=True):
            bare(axis)
            axis.imshow(picture, cmap="inferno", vmin=0, vmax=None if picture.ndim == 3 else 1)
            if r == 0:
                axis.set_title(name, fontsize=6.5, parse_math=False)
    bar = axes[-1][-1].inset_axes((1.06, 0, 0.06, 1))
    bar.imshow(RAW.bar()[::-1, None], aspect="auto", extent=(0, 1, 0, 1))
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.set_yticks([0, 1], ["1st", "99th"], fontsize=5)
    bar.tick_params(length=0, pad=1)


def _literal(legend: Any) -> None:
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a name is a dollar
