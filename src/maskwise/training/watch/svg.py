"""Curves as inline SVG: axes, ticks and lines, drawn without any library or script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from maskwise.training.watch.charts import Chart, Curve

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 26, 40  # pixels around the plot
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "12 4")  # so that no one needs to tell the colours apart
COLOURS = 6


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``.

    Example:
        >>> ticks(0.13, 0.92), ticks(0, 600)
        ([0.2, 0.4, 0.6, 0.8], [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0])
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.8)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(-math.floor(math.log10(step)) + 1, 0)
    return [round(k * step, digits) + 0.0 for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, or 1, 2 and 5 times them, or any round numbers where there would be fewer than two.

    Example:
        >>> log_ticks(1e-5, 1e-2), log_ticks(1e-3, 3e-3)
        ([1e-05, 0.0001, 0.001, 0.01], [0.001, 0.002])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [float(f"{k}e{p}") for p in powers for k in factors if low * 0.999 <= k * 10.0**p <= high * 1.001]
        if len(found) >= 2:
            return found
    return ticks(low, high)


def text_of(value: float) -> str:
    """As short as it can be said.

    Example:
        >>> [text_of(v) for v in (0, 0.25, 12, 0.001, 2.34e-05, 23000, -0.310000001)]
        ['0', '0.25', '12', '1e-3', '2.34e-5', '23000', '-0.31']
    """
    text = f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3g}"
    if "e" not in text and (value == 0 or abs(value) >= 0.01):
        return text
    if 1e4 <= abs(value) < 1e5:
        return f"{value:.0f}"
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(power)}"


def chart_svg(chart: Chart) -> str:
    """The chart as one ``svg`` element, with what it shows in words for those who can't see it."""
    family, curves = chart.family, chart.curves
    xs = [x for curve in curves for x, _ in curve.points]
    low, high = _range([y for curve in curves for _, y in curve.points], family.log)
    first, last = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)

    def across(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        part = math.log(y / low) / math.log(high / low) if family.log else (y - low) / (high - low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    said = escape(in_words(chart))
    unit = f"{family.title.lower()} ({family.unit})" if family.unit else family.title.lower()
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>']
    for y in log_ticks(low, high) if family.log else ticks(low, high):
        parts.append(f'<path class="grid" d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{text_of(y)}</text>')
    for x in (tick for tick in ticks(first, last) if tick == int(tick)):
        parts.append(f'<path class="tick" d="M{across(x):.1f} {HEIGHT - BOTTOM}v5"/>')
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text_of(x)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">step</text>')
    parts.append(f'<text x="4" y="15">{escape(unit)}{", log scale" if family.log else ""}</text>')
    for k, curve in enumerate(curves):
        places = [f"{across(x):.1f},{down(y):.1f}" for x, y in curve.points]
        if len(places) == 1:
            left, top = places[0].split(",")
            parts.append(f'<circle class="c{k % COLOURS}" cx="{left}" cy="{top}" r="3"/>')
        else:
            parts.append(f'<polyline {_style(k)} points="{" ".join(places)}"/>')
    return "".join([*parts, "</svg>"])


def legend(chart: Chart) -> str:
    """The curves' names beside a piece of their line, with their last values."""
    items = [
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path {_style(k)} d="M1 4H27"/></svg>'
        f"{escape(curve.name)} <b>{text_of(curve.last)}</b></li>"
        for k, curve in enumerate(chart.curves)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def in_words(chart: Chart) -> str:
    """What a chart shows, in a sentence.

    Example:
        >>> from maskwise.training.watch.charts import charts
        >>> in_words(charts([{"step": 1, "area": 0.5}, {"step": 9, "area": 0.25}])[0])
        'Mask area in % of the picture: mean mask from 50 at step 1 to 25 at step 9, between 25 and 50'
    """
    unit = f" in {chart.family.unit}" if chart.family.unit else ""
    return f"{chart.family.title}{unit}: " + "; ".join(map(_course, chart.curves))


def _course(curve: Curve) -> str:
    (x0, y0), (x1, y1) = curve.points[0], curve.points[-1]
    values = [y for _, y in curve.points]
    return (
        f"{curve.name} from {text_of(y0)} at step {text_of(x0)} to {text_of(y1)} at step {text_of(x1)}, "
        f"between {text_of(min(values))} and {text_of(max(values))}"
    )


def _style(k: int) -> str:
    dash = DASHES[k % len(DASHES)]
    return f'class="line c{k % COLOURS}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    """A little more than from the least to the greatest; a flat line lies in the middle."""
    low, high = min(values), max(values)
    if log:
        margin = max((high / low) ** 0.05, 1.5)
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
