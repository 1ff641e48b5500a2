"""Cells that lie with the results are those that the study asks for now, so that it goes on from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskwise.evaluation.store import key_of
from maskwise.studies import studies
from maskwise.studies.grids.learned import LEARNED
from maskwise.studies.scale import SCALES

CELLS = sorted((Path(__file__).parents[2] / "docs" / "results" / "cells" / "learned").glob("*/result.json"))


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.parent.name)
def test_a_kept_cell_is_found_again(path: Path) -> None:
    """A new field of a recipe changes what a cell is asked for: an hour's training would be run anew without a word.

    Where the new field is off and changes nothing, write it into the cell's facts, and name the folder by their key.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name.endswith(f"-{key_of(kept['facts'])}")
    study = studies.get("learned")
    jobs = [cell.job for cell in study.cells(SCALES["small"]) if cell.row == kept["row"]]
    job = next(job for job in jobs if type(job).__name__ == kept["facts"]["job"])
    asked = [[c.name, c.metric, c.options, c.times] for c in job.fills(study.columns)]
    assert kept["facts"]["columns"] == json.loads(json.dumps(asked))
    if kept["facts"]["job"] == "Train":
        scale = SCALES[kept["facts"]["scale"]]
        now = LEARNED[kept["row"]].job(scale).settings(scale).model_dump(mode="json")
        assert kept["facts"]["recipe"] == json.loads(json.dumps(now))


def test_there_are_some() -> None:
    assert len(CELLS) >= 7
