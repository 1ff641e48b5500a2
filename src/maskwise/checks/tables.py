"""Tables of the sanity checks for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from maskwise.checks.explained_again import AgainResult
from maskwise.checks.results import DrtResult, DrtRow, MprtResult, MprtRow, RoarResult


def _similarities(rows: Sequence[MprtRow] | Sequence[DrtRow], *facts: str) -> Table:
    """One row for each combination of ``facts``, one column a similarity."""
    names = list(dict.fromkeys(row.similarity for row in rows))
    cells: dict[tuple[str, ...], list[str]] = {}
    flat: dict[tuple[str, ...], int] = {}
    for row in rows:
        key, value = tuple(getattr(row, fact) for fact in facts), row.value
        cells.setdefault(key, []).append(f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})")
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
        texts = [f"{own[score].mean:.3f} ({own[score].low:.3f} to {own[score].high:.3f})" for score in scores]
        table.add_row(method, *texts, str(max(value.undefined for value in own.values())))
    return table
