"""Which curves a training's log gives: what belongs together, in which unit, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

POINTS = 400  # that a curve is drawn with
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Family:
    """Numbers that share an axis.

    Attributes:
        title: of the chart.
        unit: of the axis; empty where a number has none.
        pattern: matches the whole name of what belongs here.
        names: what single ones are called; others by their own name.
        scale: what they are multiplied by.
        log: is the axis logarithmic?
    """

    title: str
    unit: str
    pattern: str
    names: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    log: bool = False


FAMILIES = (
    Family("Loss", "", "loss"),
    Family("Mask area", "% of the picture", r"area(_.+)?|missing", {"area": "mean mask"}, 100),
    Family(
        "Accuracy", "% classified right", r"(.+_)?right(_.+)?",
        {"right": "clean", "masked_in_right": "masked-in", "masked_out_right": "masked-out"}, 100,
    ),
    Family("Learning rates", "", "lr_.+", log=True),
    Family("Steering of the area", "factor on lambda_r", "lambda_factor"),
    Family("Time", "seconds a step", "seconds_per_step", {"seconds_per_step": "mean since the start"}),
    Family("Spread within a mask", "standard deviation", "spread"),
    Family("Other terms", "", "(?!step$|epoch$|skipped$|older$).+"),
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """One line: its name, points (step, value), and the last value as it was logged."""

    name: str
    points: Points
    last: float


@dataclass(frozen=True)
class Chart:
    """One picture: a family, and its curves."""

    family: Family
    curves: list[Curve]


def charts(lines: Sequence[Mapping[str, float]]) -> list[Chart]:
    """All that the lines of a log give, in the order of ``FAMILIES``; each number goes to the first that takes it.

    Example:
        >>> lines = [{"step": 1, "loss": 2.0, "area": 0.5}, {"step": 2, "loss": 1.0, "area": 0.25}]
        >>> [(c.family.title, c.curves[0].points) for c in charts(lines)]
        [('Loss', [(1, 2.0), (2, 1.0)]), ('Mask area', [(1, 50.0), (2, 25.0)])]
    """
    found: dict[str, Points] = {}
    for line in lines:
        for key, value in line.items():
            if key != "step" and isinstance(value, (int, float)):
                found.setdefault(key, []).append((line["step"], value))
    made: dict[str, list[Curve]] = {}
    for key, points in found.items():
        family = next((f for f in FAMILIES if re.fullmatch(f.pattern, key)), None)
        if family is None:
            continue
        scaled = [(step, value * family.scale) for step, value in points if value > 0 or not family.log]
        if scaled:
            name = family.names.get(key, key.removeprefix("lr_").replace("_", " "))
            made.setdefault(family.title, []).append(Curve(name, block_means(scaled), scaled[-1][1]))
    return [Chart(family, made[family.title]) for family in FAMILIES if family.title in made]


def block_means(points: Points, most: int = POINTS) -> Points:
    """At most so many points, each the mean of as many neighbours as any other, the last ones perhaps of fewer.

    Example:
        >>> block_means([(1, 0.0), (2, 4.0), (3, 1.0), (4, 1.0), (5, 7.0)], 3)
        [(1.5, 2.0), (3.5, 1.0), (5.0, 7.0)]
    """
    each = -(-len(points) // most)
    if each <= 1:
        return points
    parts = [points[i : i + each] for i in range(0, len(points), each)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
