"""Tables of the sanity checks for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from maskwise.checks.explained_again import AgainResult
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.leak_result import LeakResult
from maskwise.checks.results import DrtResult, DrtRow, MprtResult, MprtRow, RoarResult


def _similarities(rows: Sequence[MprtRow] | Sequence[DrtRow], *facts: str) -> Table:
    """One row for each combination of ``facts``, one column a similarity."""
    names = list(dict.fromkeys(row.similarity for row in rows))
    cells: dict[tuple[str, ...], list[str]] = {}
    flat: dict[tuple[str, ...], int] = {}
    for row in rows:
        key, value = tuple(getattr(row, fact) for fact in facts), row.value
        cells.setdefault(key, []).append(value.text(2))
        flat[key] = max(flat.get(key, 0), value.undefined)
    table = Table(*facts, *names, "flat maps")
    for key, texts in cells.items():
        table.add_row(*key, *texts, str(flat[key]))
    return table


def mprt_table(result: MprtResult) -> Table:
    return _similarities(result.rows, "mode", "layer")


def drt_tables(result: DrtResult) -> list[Table]:
    reached = Table("trained on", "train accuracy %", "test accuracy %", "epochs")
    for which, facts in result.trainings.items():
        reached.add_row(which, f"{facts['train']:.1f}", f"{facts['test']:.1f}", f"{facts['epochs']:.0f}")
    return [reached, _similarities(result.rows, "method", "against")]


def roar_tables(result: RoarResult) -> list[Table]:
    table = Table("method", "removed %", "top-1 %", "top-5 %", "train top-1 %")
    for row in result.rows:
        facts = row.plain()
        values = [
            f"{facts[name]:.1f}" + ("" if facts[f"{name}_std"] is None else f" ± {facts[f'{name}_std']:.1f}")
            for name in ("top1", "top5", "train_top1")
        ]
        table.add_row(row.method, f"{row.removed:g}", *values)
    summary = Table("method", "top-1 below random removal, mean over shares")
    for method, below in result.below_random().items():
        summary.add_row(method, f"{below:.1f}")
    return [table, summary]


def again_table(result: AgainResult) -> Table:
    """One row a method, one column a score."""
    scores = list(dict.fromkeys(row.score for row in result.rows))
    table = Table("method", *scores, "undefined")
    for method in dict.fromkeys(row.method for row in result.rows):
        own = {row.score: row.value for row in result.rows if row.method == method}
        texts = [own[score].text(3) for score in scores]
        table.add_row(method, *texts, str(max(value.undefined for value in own.values())))
    return table


def leak_tables(result: LeakResult) -> list[Table]:
    """The answers, then both judges' accuracies under each kind of mask."""
    controls = list(result.summaries[0].gaps)
    probed = any(one.probe is not None for one in result.summaries)
    columns = ["method", "answer", *(f"gap against {name}" for name in controls), "borrowed", "area"]
    table = Table(*columns, *(("probe", "probe less boxes") if probed else ()))
    for one in result.summaries:
        gaps = [_points(one.gaps[name]) for name in controls]
        probe = (_points(one.probe), _points(one.over_boxes)) if probed else ()
        table.add_row(one.method, one.answer, *gaps, _points(one.borrowed), f"{one.area:.2f}", *probe)
    judged = Table("method", "masks", "shown", "own judge %", "robust judge %", "own nats", "robust nats")
    by = {(row.method, row.masks, row.kept, row.judge): row for row in result.rows}
    for row in result.rows:
        if row.judge == "own":
            other = by[row.method, row.masks, row.kept, "robust"]
            judged.add_row(
                row.method, row.masks, {"in": "what they keep", "out": "the rest"}[row.kept],
                _points(row.accuracy), _points(other.accuracy), _nats(row.cross_entropy), _nats(other.cross_entropy),
            )  # fmt: skip
    return [table, judged]


def _nats(value: MeanInterval) -> str:
    return "-" if value.mean != value.mean else f"{value.mean:.2f}"


def _points(value: MeanInterval | None) -> str:
    """In percent of pictures, with its interval."""
    if value is None or value.mean != value.mean:
        return "-"
    return value.text(1, 100)
