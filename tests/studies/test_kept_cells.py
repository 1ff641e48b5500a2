"""Cells that lie with the results are those that the study asks for now, so that it goes on from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskwise.evaluation.store import key_of
from maskwise.studies import studies
from maskwise.studies.jobs import Train
from maskwise.studies.scale import SCALES

CELLS = sorted((Path(__file__).parents[2] / "docs" / "results" / "cells").glob("*/*/result.json"))
SMALLER = ("batch_size=16", "input_size=112")  # by --set, as their pages say
SET = {"casm-ablation": SMALLER, "phang-objectives": SMALLER}


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.parent.name)
def test_a_kept_cell_is_found_again(path: Path) -> None:
    """A new field of a recipe changes what a cell is asked for: an hour's training would be run anew without a word.

    Where the new field is off and changes nothing, write it into the cell's facts, and name the folder by their key.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name.endswith(f"-{key_of(kept['facts'])}")
    study, scale = studies.get(path.parent.parent.name), SCALES[kept["facts"]["scale"]]
    jobs = [cell.job.with_seed(kept["facts"]["seed"]) for cell in study.cells(scale) if cell.row == kept["row"]]
    job = next(job for job in jobs if type(job).__name__ == kept["facts"]["job"])
    asked = [[c.name, c.metric, c.options, c.times] for c in job.fills(study.columns)]
    assert kept["facts"]["columns"] == json.loads(json.dumps(asked))
    if isinstance(job, Train):
        now = job.settings(scale, SET.get(study.name, ())).model_dump(mode="json")
        assert kept["facts"]["recipe"] == json.loads(json.dumps(now))


def test_there_are_some() -> None:
    assert len([path for path in CELLS if path.parent.parent.name == "learned"]) == 42
    assert len([path for path in CELLS if path.parent.parent.name == "casm-ablation"]) == 9
    assert len([path for path in CELLS if path.parent.parent.name == "phang-objectives"]) == 36
