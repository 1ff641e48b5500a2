"""PxAP has cells of its own beside every row of Phang et al.'s tables, and pictures of its own: those with masks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from maskwise.studies import SCALES, run_study, studies
from maskwise.studies.jobs import OnMasks
from maskwise.studies.run_config import RunConfig

WITH_PXAP = ["learned", "phang-objectives", "phang-layers", "phang-infill", "phang-final", "phang-fewshot"]


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("name", WITH_PXAP)
def test_every_row_has_it_from_the_same_explainer(name: str, scale: str) -> None:
    cells = studies.get(name).cells(SCALES[scale])
    rows = {cell.row: cell.job for cell in cells if not cell.part}
    beside = {cell.row: cell.job for cell in cells if cell.part == "PxAP"}
    assert rows.keys() == beside.keys()
    for row, job in beside.items():
        assert isinstance(job, OnMasks) and job.of == rows[row] and job.metrics == (("PxAP", "pxap"),)


def test_boxes_and_masks_of_two_sets_of_pictures(tmp_path: Path) -> None:
    """A row's LE is of the test pictures and its PxAP of those with masks; without any it is of the former, too."""
    study, shapes = studies.get("phang-final"), "shapes:n=6"
    boxes, masked = f"{shapes},seed=3", f"{shapes},seed=4"
    found = {}
    for name, config in {
        "both": RunConfig(SCALES["smoke"], (shapes,), (boxes,), masked=(masked,)),
        "boxes alone": RunConfig(SCALES["smoke"], (shapes,), (boxes,)),
        "masks alone": RunConfig(SCALES["smoke"], (shapes,), (masked,)),
    }.items():
        numbers = run_study(study, config, tmp_path / name, only=["CAM"]).numbers
        found[name] = {column: number.value for (row, column), number in numbers.items() if row == "CAM"}
    assert not any(math.isnan(found["both"][column]) for column in ("LE", "PxAP"))
    assert found["both"]["LE"] == found["boxes alone"]["LE"]
    assert found["both"]["PxAP"] == found["masks alone"]["PxAP"] != found["boxes alone"]["PxAP"]
