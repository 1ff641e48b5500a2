"""The colours of a map with their values, below it: in a figure, and in a page."""

from __future__ import annotations

from matplotlib.axes import Axes

from maskwise.drawing.heat import HeatScale

STOPS = 9  # of a gradient in a style sheet: more can't be told apart


def draw_colour_bar(axis: Axes, scale: HeatScale, fontsize: float = 7) -> None:
    """A bar along the lower edge of an axis, below it, with both ends' values and what the high one is."""
    low, high = scale.ends
    bar = axis.inset_axes((0.0, -0.07, 0.42, 0.035))
    bar.imshow(scale.bar()[None], aspect="auto", extent=(0, 1, 0, 1))
    bar.set_yticks([])
    bar.set_xticks([0, 1], [low, high], fontsize=fontsize)
    bar.tick_params(length=0, pad=1.5)
    for spine in bar.spines.values():
        spine.set_linewidth(0.4)
    if scale.why:
        bar.text(1.08, 0.5, scale.why, fontsize=fontsize, va="center", transform=bar.transAxes)


def css_gradient(scale: HeatScale) -> str:
    """The same as a style sheet's background.

    Example:
        >>> from maskwise.drawing.heat import RAW
        >>> css_gradient(RAW)[:35]
        'linear-gradient(90deg,rgb(0 0 4),rg'
    """
    stops = (255 * scale.bar(STOPS)).round().astype(int).tolist()
    return f"linear-gradient(90deg,{','.join(f'rgb({r} {g} {b})' for r, g, b in stops)})"
