"""Which pictures a printed row is on, and that a study can be run on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data.making import picture, xml

from maskwise.data import read_data
from maskwise.labels import imagenet_labels
from maskwise.studies import SCALES, studies
from maskwise.studies.published import printed
from maskwise.studies.run_config import sources_of

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PHANG = {
    "phang-objectives": ("rows a to z", "Train-Validation"),
    "phang-infill": ("rows a to z", "Train-Validation"),
    "phang-layers": ("All printed rows", "Train-Validation"),
    "phang-final": ("Best FIX and Best CA", "ImageNet's validation"),
    "phang-fewshot": ("LE is", "ImageNet's validation"),
}


@pytest.mark.parametrize("name", PHANG)
def test_every_page_of_phang_s_says_what_its_printed_rows_are_on(name: str) -> None:
    rows, split = PHANG[name]
    table = studies.get(name).printed
    assert table is not None
    notes = printed(table).notes
    assert any(rows in note and split in note for note in notes)
    page, plain = (RESULTS / f"{name}.md").read_text(), json.loads((RESULTS / f"{name}.json").read_text())
    assert plain["printed"]["notes"] == list(notes) and all(f"- {note}\n" in page for note in notes)


def test_a_study_trains_on_the_rest_and_measures_on_train_validation(tmp_path: Path) -> None:
    """60 boxed pictures of one class: 50 are measured on, 10 and one without a box are trained on."""
    wnid = (imagenet_labels().wnids or ())[5]
    for i in range(61):
        picture(tmp_path / "train" / wnid / f"{wnid}_{i}.JPEG")
        if i:
            xml(tmp_path / "Annotations" / "train" / wnid / f"{wnid}_{i}.xml", (wnid, 0, 0, 3, 3, 0))
    given = ([f"imagenet:{tmp_path}@train_train"], [f"imagenet:{tmp_path}@train_val"])
    train, test = sources_of(*given, SCALES["full"])
    assert (list(train), list(test)) == given
    ours, theirs = ({r.id for r in read_data(s).records} for s in (train[0], test[0]))
    assert len(ours) == 11 and len(theirs) == 50 and not ours & theirs
