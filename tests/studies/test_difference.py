"""Rows of a study held against a few others: paired, and said which way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from maskwise.studies import SCALES, Study
from maskwise.studies.account import DIFFERENCES, difference_tables
from maskwise.studies.difference import row_differences
from maskwise.studies.estimate import Estimate
from maskwise.studies.jobs import Explain
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.report import markdown, outcome_data, write_report
from maskwise.studies.run import Outcome, run_study
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.studies.study import GridCell

SMOKE = SCALES["smoke"]
NOISE = np.random.default_rng(0).normal(0, 5, (1, 1000))  # of the pictures, which all rows share
OWN = np.random.default_rng(1).normal(0, 0.1, (1, 1000))


def config() -> RunConfig:
    train, test = sources_of([], [], SMOKE)
    return RunConfig(SMOKE, train, test, {"tiny": None}, (), SMOKE.limit)


def of(value: float, own: float = 1.0) -> Estimate:
    return Estimate.of([value], value + NOISE + own * OWN)


def outcome(against: tuple[str, ...] = ("base", "gone")) -> Outcome:
    columns = (
        Column("LE", "le"),
        Column("F1", "f1", lower=False),
        Column("area", "area", lower=None),
        Column("seconds", SECONDS),
    )
    study = Study("d", "which is better?", None, columns, lambda scale: [], against=against)
    numbers = {
        ("base", "LE"): of(40), ("one", "LE"): of(38, -1), ("two", "LE"): of(40.1, -1), ("three", "LE"): of(41, -1),
        ("base", "F1"): of(50), ("one", "F1"): of(48, -1), ("two", "F1"): of(55, -1),
        ("base", "area"): of(0.2), ("one", "area"): of(0.9), ("base", "seconds"): of(1), ("one", "seconds"): of(9),
    }  # fmt: skip
    return Outcome(study, config(), numbers=numbers)


def test_of_every_row_in_every_column_that_has_a_better_way() -> None:
    found = row_differences(outcome())
    assert list(found) == ["base"], "a row that is not there has none"
    verdicts = {(one.row, one.column): one.verdict for one in found["base"]}
    assert verdicts == {
        ("one", "LE"): "better", ("two", "LE"): "undecided", ("three", "LE"): "worse",
        ("one", "F1"): "worse", ("two", "F1"): "better",
    }  # fmt: skip
    le = next(one for one in found["base"] if (one.row, one.column) == ("one", "LE"))
    drawn = -2 - 2 * OWN[0]  # what the pictures share is gone
    np.testing.assert_allclose(le.number.interval(), np.quantile(drawn, [0.025, 0.975]))
    assert row_differences(outcome(against=())) == {}


def test_tables_and_plain_data() -> None:
    made = outcome()
    ((than, (names, rows)),) = difference_tables(made).items()
    assert (than, names) == ("base", ["", "LE", "F1"])
    assert [row[0] for row in rows] == ["one", "two", "three"]
    assert rows[0][1].startswith("-2.0") and rows[0][1].endswith("], better") and rows[0][2].endswith("], worse")
    assert rows[1][1].endswith("]") and rows[2][2] == "-"
    page = markdown(made)
    assert (
        f"## Less base\n\n{DIFFERENCES}\n\n|  | LE | F1 |\n" in page
        and f"| one | {rows[0][1]} | {rows[0][2]} |" in page
    )
    plain = outcome_data(made)["differences"]
    assert len(plain) == 5 and plain[0] | {"low": 0, "high": 0} == {
        "row": "one", "than": "base", "column": "LE", "value": -2.0, "low": 0, "high": 0, "over": "pictures",
        "seeds": 1, "verdict": "better",
    }  # fmt: skip


def test_a_study_writes_them(tmp_path: Path) -> None:
    """On the page, too; the learned explainers are held against what costs nothing, and CASM."""
    cells = [GridCell("a", Explain("center")), GridCell("b", Explain("random"))]
    study = Study("d", "which?", None, (Column("LE", "le"),), lambda scale: cells, against=("a",))
    write_report(run_study(study, config(), tmp_path), tmp_path)
    (one,) = json.loads((tmp_path / "d.json").read_text())["differences"]
    assert (one["row"], one["than"], one["column"]) == ("b", "a", "LE")
    assert "Less a" in (tmp_path / "d.html").read_text() and DIFFERENCES in (tmp_path / "d.html").read_text()
