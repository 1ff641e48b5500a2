"""Figure of the checks that explain again: a point with its interval for each method, a panel for each score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskwise.checks.explained_again import AgainResult
from maskwise.checks.intervals import MeanInterval
from maskwise.drawing import save_figure

BETTER = {
    "arcc": "higher", "coherency": "higher", "complexity": "lower", "road": "higher", "f_fidelity": "higher",
    "ffid_plus": "higher", "ffid_minus": "lower", "max_sensitivity": "lower", "focus": "higher",
}  # fmt: skip


def again_figure(result: AgainResult, path: str | Path, dpi: float = 120) -> None:
    """Written atomically, as the name's ending says; ``dpi`` dots an inch."""
    scores = list(dict.fromkeys(row.score for row in result.rows))
    methods = list(dict.fromkeys(row.method for row in result.rows))
    figure = Figure(figsize=(3.4 * len(scores) + 1.2, 0.45 * len(methods) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axis, score in zip(axes, scores, strict=True):
        for row in result.rows:
            if row.score == score:
                y, value = methods.index(row.method), row.value
                axis.plot([value.low, value.high], [y, y], color="#1f5fbf", linewidth=2)
                axis.plot([value.mean], [y], "o", color="#1f5fbf")
        axis.set_title(f"{score}{f': {BETTER[score]} is better' if score in BETTER else ''}", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xlim(_limits([row.value for row in result.rows if row.score == score]))
    axes[0].set_yticks(range(len(methods)), methods, parse_math=False)
    axes[0].set_ylim(len(methods) - 0.5, -0.5)
    facts = result.protocol
    counted = f"{facts['pictures']} picture{'s' * (facts['pictures'] != 1)}"
    figure.suptitle(f"{facts['classifier']}, {counted}, 95% intervals", fontsize=10, parse_math=False)
    save_figure(figure, path, dpi)


def _limits(values: Sequence[MeanInterval]) -> tuple[float, float]:
    """Ends of an axis on which all of them are seen, 0 among them: some scores may lie below it."""
    ends = [end for value in values for end in (value.low, value.high) if end == end]  # undefined ones are NaN
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    if low >= 0:
        return 0.0, 1.05 * high if high > 0 else 1.0
    high = max(high, 0.0)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)
