"""What a study's figure shows: the columns that were measured, as its table does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from maskwise.studies import figures
from maskwise.studies.estimate import Estimate
from maskwise.studies.table import ResultTable


def table(**values: float) -> ResultTable:
    """One row with these columns."""
    estimates = {column: Estimate.of([value], np.full((1, 5), value)) for column, value in values.items()}
    return ResultTable(numbers={("row", column): estimate for column, estimate in estimates.items()})


@pytest.mark.parametrize(
    ("values", "titles"),
    [
        ({"LE": 40.0, "PxAP": 60.0}, ["LE", "PxAP"]),
        ({"LE": 40.0, "PxAP": float("nan")}, ["LE"]),  # pictures without masks
        ({"PxAP": 60.0}, ["PxAP"]),
        ({"LE": float("nan"), "PxAP": float("nan")}, ["LE", "PxAP"]),  # nothing at all: the paper's numbers stay
    ],
)
def test_a_column_without_a_number_has_no_axis(
    values: dict[str, float], titles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, dpi: drawn.append(figure))
    figures.dots("LE", "PxAP")(table(**values), tmp_path / "figure.png", 50)
    assert [axis.get_title() for axis in drawn[0].axes] == titles
