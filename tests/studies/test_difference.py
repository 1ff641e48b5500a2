"""Rows of a study held against a few others: paired, and said which way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from maskwise.checks.results import RANDOM_REMOVAL, RoarResult, RoarRow
from maskwise.studies import SCALES, Study
from maskwise.studies.account import DIFFERENCES, difference_tables
from maskwise.studies.cell_directory import CellDirectory
from maskwise.studies.claim import Condition
from maskwise.studies.difference import row_differences
from maskwise.studies.estimate import Estimate, Number
from maskwise.studies.jobs import Explain
from maskwise.studies.jobs.checks import _below_random
from maskwise.studies.landscape_figure import landscape_figure
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.report import markdown, outcome_data, write_report
from maskwise.studies.run import Outcome, _collect, run_study
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.studies.study import GridCell
from maskwise.studies.table import ResultTable

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


def test_a_seed_that_failed_moves_no_other(tmp_path: Path) -> None:
    """Of two rows the third seed of one was held against the second of the other."""

    def cell(row: str, seed: int, value: float | None) -> SimpleNamespace:
        job = SimpleNamespace(trains=True, seed=seed)
        numbers = {row: {"LE": Number(value or 0.0)}}
        return SimpleNamespace(
            cell=SimpleNamespace(row=row, name=row, job=job, note=""), facts={"seed": seed}, done=value is not None,
            error=lambda: "ill", read=lambda: (numbers, 1.0),
        )  # fmt: skip

    made = outcome()
    made.numbers.clear()
    values = {"base": (10.0, 90.0, 20.0), "one": (9.0, None, 19.0)}
    _collect(made, [cell(row, seed, value) for row, of_row in values.items() for seed, value in enumerate(of_row)])  # type: ignore[misc]
    (found,) = row_differences(made)["base"]
    assert found.number.points.tolist() == [-1.0, -1.0] and found.number.which == (0, 2)
    assert list(made.failures) == ["one, seed 1"] and made.numbers["one", "LE"].seeds == 2


def test_a_cell_on_disk_keeps_what_an_interval_is_over_and_that_there_is_none(tmp_path: Path) -> None:
    """NaN has no place in JSON; of a cell of before it was noted, bounds are over pictures."""
    cell: Any = SimpleNamespace(row="r")
    directory = CellDirectory(cell, tmp_path, {})
    nothing = (np.nan, np.nan)
    given = {"a": Number(1.0, bounds=nothing, over="seeds"), "b": Number(2.0, bounds=(1.0, 3.0)), "c": Number(np.nan)}
    directory.write({"r": given}, 1.0)

    def refused(constant: str) -> None:
        raise AssertionError(constant)

    stored = json.loads((tmp_path / "result.json").read_text(), parse_constant=refused)
    found = directory.read()[0]["r"]
    for name, one in given.items():
        again = found[name]
        assert again.over == one.over and np.array_equal(again.value, one.value, equal_nan=True)
        assert again.bounds == one.bounds or np.array_equal(again.bounds, one.bounds, equal_nan=True)
    del stored["rows"]["r"]["b"]["over"]
    (tmp_path / "result.json").write_text(json.dumps(stored))
    assert directory.read()[0]["r"]["b"].over == "pictures"


def test_the_landscape_is_in_order_though_a_number_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN has no place in an order: what stood behind it stayed where it was."""
    shown: list[str] = []
    monkeypatch.setattr(
        "maskwise.studies.landscape_figure._table", lambda axis, points, style: shown.extend(row for row, *_ in points)
    )
    errors = {"grad_cam": 50.0, "center": np.nan, "random": 40.0, "edges": 45.0, "cam": np.nan, "gradient": 30.0}
    numbers = {(row, "LE"): Estimate.of([value]) for row, value in errors.items()}
    numbers |= {(row, "seconds"): Estimate.of([0.1]) for row in errors}
    landscape_figure(ResultTable(numbers=numbers), tmp_path / "plot.png", 40)
    assert shown == ["gradient", "random", "edges", "grad_cam"]


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_interval_of_roar_is_student_s_over_its_repeats(repeats: int) -> None:
    """The range of three repeats was called a 95% interval over pictures; one repeat was judged as it stands."""
    draws = np.random.default_rng(0).uniform(20, 60, (2, 2, repeats))
    rows = [
        RoarRow(method, share, tuple(draws[m, s].tolist()), (100.0,) * repeats, (100.0,) * repeats)
        for m, method in enumerate((RANDOM_REMOVAL, "FIX ROAR"))
        for s, share in enumerate((10.0, 50.0))
    ]
    found = _below_random(RoarResult([RoarRow("none", 0.0, (90.0,), (99.0,), (99.0,)), *rows], 3, {}), "FIX ROAR")
    gaps = (draws[0] - draws[1]).mean(0)
    number = Estimate.of([found.value], None, found.bounds, found.over)
    assert number.value == pytest.approx(gaps.mean()) and number.basis == number.plain()["over"] == "seeds"
    if repeats == 1:
        assert np.isnan(number.interval()).all() and Condition("x", number, low=-999).verdict == "undecided"
    else:
        expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
        assert number.interval() == pytest.approx((expected.low, expected.high))
