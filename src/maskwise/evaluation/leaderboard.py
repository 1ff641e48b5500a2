"""From rows to a leaderboard: values with intervals, and the paired difference of each method to the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import maskwise
from maskwise.core.bootstrap import interval, paired
from maskwise.core.errors import InputError
from maskwise.core.text import first_few
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.items import RULES
from maskwise.evaluation.measured import MEGABYTES, SECONDS, Measured
from maskwise.evaluation.own_objective import own_objective, own_objective_in_words
from maskwise.evaluation.protocol_words import metric_in_words, run_in_words
from maskwise.measures import Metric, metrics

ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        value: of the metric, over so many ``pictures``, or classes of pictures where each is explained.
        low, high: its 95% bootstrap interval over pictures, or over subjects where those are known.
        difference: (value, low, high) of this method minus the best one on the same pictures; None for the best, and
            where a metric has no better side.
    """

    value: float
    low: float
    high: float
    pictures: int
    difference: tuple[float, float, float] | None = None

    def __str__(self) -> str:
        value, low, high = ("-" if math.isnan(n) else f"{n:.3g}" for n in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Line:
    """One method on one data set; ``milliseconds`` and peak ``megabytes`` are of a picture's map."""

    data: str
    method: str
    pictures: int
    milliseconds: float
    megabytes: float
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Leaderboard:
    """What a comparison found.

    Attributes:
        lines: by data set, then by method; with several data sets a last one, ``all``, pools their pictures.
        best: (data set, metric) to the name of the best method, the first of equals.
        protocol: every setting behind the numbers, as plain data.
        left_out: metrics that could not be measured, and why.
        warnings: why maps may be wrong: a line for each method and kind, with the number of pictures.
    """

    lines: list[Line]
    best: dict[tuple[str, str], str]
    protocol: dict[str, Any]
    left_out: dict[str, str]
    warnings: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[str]:
        return list(self.protocol["metrics"])

    def cell(self, method: str, metric: str, data: str | None = None) -> Cell:
        """One number; of all data sets together where none is named.

        Raises:
            InputError: no such method, metric or data set.
        """
        of_method = [line for line in self.lines if line.method == method and data in (None, line.data)]
        if not of_method or metric not in of_method[-1].cells:
            lines = " or ".join(dict.fromkeys(line.method for line in self.lines))
            raise InputError(f"no {metric} of {method} here: name {lines}, and {' or '.join(self.metrics)}")
        return of_method[-1].cells[metric]

    def is_best(self, line: Line, metric: str) -> bool:
        """Has this line the best value of its data set? Where several are equal all of them have."""
        winner = self.best.get((line.data, metric))
        if winner is None:
            return False
        cells = {other.method: other.cells[metric] for other in self.lines if other.data == line.data}
        return line.method == winner or line.cells[metric].value == cells[winner].value

    def __str__(self) -> str:
        rows = [["data", "method", *self.metrics]]
        for line in self.lines:
            cells = [line.cells.get(name) for name in self.metrics]  # a data set may lack what a metric needs
            values = ["-" if cell is None else str(cell) for cell in cells]
            rows.append([line.data, line.method, *values])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; what is no number is null."""
        rows = [_finite(self._row(line)) for line in self.lines]
        return {"protocol": self.protocol, "left_out": self.left_out, "warnings": self.warnings, "rows": rows}

    def _row(self, line: Line) -> dict[str, Any]:
        cells: dict[str, dict[str, Any]] = {}
        for name, cell in line.cells.items():
            cells[name] = {"value": cell.value, "low": cell.low, "high": cell.high, "pictures": cell.pictures}
            if cell.difference is not None:
                value, low, high = cell.difference
                best = self.best[line.data, name]
                cells[name]["difference"] = {"to": best, "value": value, "low": low, "high": high}
        return {
            "data": line.data, "method": line.method, "pictures": line.pictures,
            "milliseconds": line.milliseconds, "megabytes": line.megabytes, "metrics": cells,
        }  # fmt: skip


@dataclass(frozen=True)
class _Draws:
    """Of the bootstrap: how many, by which seed, and which rows are drawn together (see ``interval``)."""

    resamples: int
    seed: int
    groups: Tensor | None


def leaderboard(measured: Measured, resamples: int = 2000, seed: int = 0) -> Leaderboard:
    """The leaderboard of rows.

    Args:
        resamples: of the bootstrap over pictures.
        seed: of the bootstrap.

    Raises:
        InputError: none of the metrics could be measured on these data.
    """
    sources = list(measured.pictures)
    groups = {source: [source] for source in sources}
    if len(sources) > 1:
        groups[ALL] = sources
    lines: list[Line] = []
    best: dict[tuple[str, str], str] = {}
    names = [contender.name for contender in measured.contenders]
    missing = dict.fromkeys(measured.metrics)
    silent: dict[str, list[str]] = {}  # of which methods a metric says nothing
    for group, members in groups.items():
        table: dict[str, dict[str, Cell]] = {name: {} for name in names}
        draws = _Draws(resamples, seed, measured.groups(members))
        for metric_name, metric in measured.metrics.items():
            rows = {name: measured.rows(name, metric_name, members) for name in names}
            silent[metric_name] = [name for name, row in rows.items() if row.isnan().any(1).all()]
            if silent[metric_name]:
                continue
            missing.pop(metric_name, None)
            cells = {name: _cell(metric, row, draws) for name, row in rows.items()}
            if metric.higher_is_better is not None:
                winner = _best(cells, metric.higher_is_better)
                best[group, metric_name] = winner
                cells = {
                    name: cell if name == winner else _against(metric, cell, rows[name], rows[winner], draws)
                    for name, cell in cells.items()
                }
            for name in names:
                table[name][metric_name] = cells[name]
        for name in names:
            seconds = measured.rows(name, SECONDS, members)[:, 0]
            megabytes = measured.rows(name, MEGABYTES, members)[:, 0]
            pictures = sum(len(measured.pictures[m]) for m in members)
            peak = float(megabytes[~megabytes.isnan()].max()) if not megabytes.isnan().all() else float("nan")
            lines.append(Line(group, name, pictures, 1000 * float(seconds.nanmedian()), peak, table[name]))
    if not any(measured.pictures.values()) and measured.settings.target == "each":
        raise InputError(
            f"{', '.join(sources)}: no picture names its classes, which `target=each` asks for: give boxes.csv the "
            "columns class and name, or take another `target`"
        )
    target = measured.settings.target
    of = "" if target in RULES else f" of {target}"
    if len(missing) == len(measured.metrics):
        needs = sorted({need for metric in measured.metrics.values() for need in metric.needs})
        if not needs:  # they choose among pictures, and say which in their own words
            raise InputError(f"{', '.join(sources)}: no picture is one that {', '.join(measured.metrics)} counts")
        raise InputError(f"{', '.join(sources)}: nothing to compare with; these metrics need {', '.join(needs)}{of}")
    left_out = {
        name: f"no picture has {' and '.join(measured.metrics[name].needs) or 'what it asks for'}{of}"
        if len(silent[name]) == len(names)
        else f"it says nothing of {first_few(silent[name])} on any picture: compare the others without"
        for name in missing
    }
    protocol = _protocol(measured, left_out, _counted(lines, measured), resamples, seed)
    return Leaderboard(lines, best, protocol, left_out, measured.warnings())


def _counted(lines: list[Line], measured: Measured) -> list[str]:
    """Of which metrics not every picture says something, a sentence for each such number of pictures."""
    found: dict[tuple[str, int, str], dict[str, None]] = {}
    for name in measured.metrics:
        for line in lines:
            counts = [each.cells[name].pictures for each in lines if each.data == line.data and name in each.cells]
            if counts and min(counts) < line.pictures:
                some = f"{min(counts):,}" + (f" to {max(counts):,}" if max(counts) > min(counts) else "")
                found.setdefault((line.data, line.pictures, some), {})[name] = None
    what = "cases" if measured.settings.target == "each" else "pictures"
    return [f"Of the {of:,} {what} of {data}, {some} count for {', '.join(names)}: the others lack what it takes."
            for (data, of, some), names in found.items()]  # fmt: skip


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _best(cells: dict[str, Cell], higher: bool) -> str:
    """The name of the best; the first one of equals, and never one without a value unless all are."""
    sign = 1 if higher else -1
    return max(cells, key=lambda name: -math.inf if math.isnan(cells[name].value) else sign * cells[name].value)


def _cell(metric: Metric, rows: Tensor, draws: _Draws) -> Cell:
    known = rows[~rows.isnan().any(1)]
    value = float(metric.value(known.sum(0), torch.tensor(float(len(known)), dtype=torch.float64)))
    low, high = interval(metric, rows, draws.resamples, seed=draws.seed, groups=draws.groups)
    return Cell(value, float(low), float(high), len(known))


def _against(metric: Metric, cell: Cell, rows: Tensor, best: Tensor, draws: _Draws) -> Cell:
    difference, low, high = paired(metric, rows, best, draws.resamples, seed=draws.seed, groups=draws.groups)
    return Cell(cell.value, cell.low, cell.high, cell.pictures, (float(difference), float(low), float(high)))


def _protocol(
    measured: Measured, left_out: dict[str, str], counted: list[str], resamples: int, seed: int
) -> dict[str, Any]:
    described = {}
    for name, metric in measured.metrics.items():
        if name not in left_out:
            facts = metrics.facts(name) if name in metrics else {}
            described[name] = {
                "title": facts.get("title", name), "unit": metric.unit, "higher_is_better": metric.higher_is_better,
                "paper": facts.get("paper", ""), "says": facts.get("says", ""), "options": metric.protocol(),
            }  # fmt: skip
    settings = measured.settings
    return {
        "classifier": measured.classifier,
        "data": {source: len(pictures) for source, pictures in measured.pictures.items()},
        "methods": {contender.name: contender.identity for contender in measured.contenders},
        "resize": settings.resize, "target": settings.target, "limit": settings.limit,
        "difficult": "by rule" if settings.difficult is None else settings.difficult.name,
        "interval": f"95%, percentile bootstrap over {measured.drawn}, {resamples} resamples, seed {seed}",
        "damaged": {source: list(names) for source, names in measured.damaged.items()},
        "without_maps": dict(measured.left_out),
        "trained_on": _own_objectives(measured, described),
        "metrics": described, "in_words": _in_words(measured, described, counted),
        "maskwise": maskwise.__version__, "torch": torch.__version__,
    }  # fmt: skip


def _own_objectives(measured: Measured, described: dict[str, Any]) -> dict[str, list[str]]:
    """By contender, the metrics here that it was trained on; of most there are none."""
    known = {name: metric for name, metric in measured.metrics.items() if name in described}
    found = {contender.name: own_objective(contender.explainer, known) for contender in measured.contenders}
    return {name: trained for name, trained in found.items() if trained}


def _in_words(measured: Measured, described: dict[str, Any], counted: list[str]) -> list[str]:
    settings, counts = measured.settings, {source: len(pictures) for source, pictures in measured.pictures.items()}
    lines = run_in_words(measured.classifier, measured.size, counts, settings.resize, settings.target)
    lines += [*measured.subjects_in_words(), *counted]
    lines += [f"{c.name}: {c.explainer.in_words()}" for c in measured.contenders if isinstance(c.explainer, GivenMaps)]
    for name, trained in _own_objectives(measured, described).items():
        lines.append(own_objective_in_words(name, trained))
    pixels = {"none": None, "squash": math.prod(measured.size)}.get(settings.resize, max(measured.size) ** 2)
    of_metrics = (metric_in_words(name, facts["options"], pixels) for name, facts in described.items())
    return lines + [line for line in of_metrics if line]
