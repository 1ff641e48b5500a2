"""Cells that ask more of a row's explainer: on pictures with masks, and whether its masks give the class away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net

import maskwise as mw
from maskwise.checks import leak
from maskwise.checks.intervals import MeanInterval
from maskwise.checks.leak_result import LeakResult, LeakSummary
from maskwise.checks.pictures import classified
from maskwise.checks.robust_judge import SETTINGS, robust_judge
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.measures import metric
from maskwise.studies import SCALES, Study, run_study
from maskwise.studies.account import circumstances, missing
from maskwise.studies.cell_directory import cell_directory
from maskwise.studies.jobs import LEAK_COLUMN, Explain, Leak, OnMasks, Train, TrainOnSome
from maskwise.studies.jobs import leak as leak_job
from maskwise.studies.protocol import Column
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.studies.study import GridCell

SMOKE = SCALES["smoke"]
MASKED = "shapes:n=5,size=40,seed=3,labels=own"
PXAP = Column("PxAP", None)
CAM = Explain("grad_cam")


def config(**changes: Any) -> RunConfig:
    train, test = sources_of([], [], SMOKE)
    return replace(RunConfig(SMOKE, train, test, {"tiny": None}, (), SMOKE.limit), **changes)


def study(cells: list[GridCell], *columns: Column) -> Study:
    return Study("own", "what?", None, (Column("LE", "le"), *columns), lambda scale: cells)


def test_on_masks_measures_on_the_pictures_that_were_named_for_it(tmp_path: Path) -> None:
    cells = [GridCell("CAM", CAM), GridCell("CAM", OnMasks(CAM, (("PxAP", "pxap"),)), part="PxAP")]
    found = run_study(study(cells, PXAP), config(masked=(MASKED,), limit=None), tmp_path)
    classifier = config().classifier()
    samples = [sample.resized(classifier.size) for sample in read_data(MASKED)]
    maps = mw.explainer("grad_cam", classifier)(torch.stack([s.image for s in samples]))
    judge = metric("pxap", classifier)
    rows = judge.per_image(maps, masks=torch.stack([s.mask for s in samples if s.mask is not None]))
    whole = float(judge.value(rows.double().sum(0, keepdim=True), torch.tensor([5.0], dtype=torch.float64)))
    assert found.failures == {} and found.rows == ["CAM"]
    assert found["CAM", "PxAP"].value == pytest.approx(whole, abs=1e-4)
    on_test = run_study(study(cells, PXAP), config(limit=None), tmp_path)
    assert on_test["CAM", "PxAP"].value != found["CAM", "PxAP"].value  # without such pictures: the test's own
    assert on_test["CAM", "LE"].value == found["CAM", "LE"].value
    said = " ".join(circumstances(found))
    assert f"PxAP measured on: {MASKED}" in said and "PxAP measured on" not in " ".join(circumstances(on_test))


def test_leak_is_the_check_with_one_judge_for_all_rows(tmp_path: Path) -> None:
    jobs = {"CAM": CAM, "middle": Explain("center")}
    cells = [GridCell(row, Leak(job), part="leak") for row, job in jobs.items()]
    found = run_study(study(cells, LEAK_COLUMN), config(), tmp_path)
    assert found.failures == {}
    judges = list((tmp_path / "trainings" / "robust-judges").glob("*.safetensors"))
    assert len(judges) == 1
    own = config()
    classifier, test = own.classifier(), classified(own.sets(own.test), own.classifier(), own.limit)
    seen = leak_job.training_pictures(own, classifier, 4, 0)
    settings = SETTINGS.model_copy(update={"epochs": 1, "seed": 0})
    judge = robust_judge(classifier, seen, settings).classifier
    for row, job in jobs.items():
        gap = leak({row: job.explainer(own)}, classifier, judge, test, probe=None).summaries[0].gap
        number = found[row, "leak"]
        assert (number.value, *number.interval()) == pytest.approx((100 * gap.mean, 100 * gap.low, 100 * gap.high))


def test_leak_is_in_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gap = MeanInterval(0.25, 0.1, 0.4, 0)
    summary = LeakSummary(
        "CAM", 0.5, {"centre square": gap, "random blobs": MeanInterval(0.5, 0.4, 0.6, 0)}, gap, None, None, "leaks"
    )
    monkeypatch.setattr(leak_job, "leak", lambda *given, **more: LeakResult([], [summary], None, {}))
    number = run_study(study([GridCell("CAM", Leak(CAM), part="leak")], LEAK_COLUMN), config(), tmp_path)["CAM", "leak"]
    assert (number.value, *number.interval()) == (25, 10, 40)  # by the kinder control


def test_the_judge_sees_labels_that_the_classifier_knows_and_few_of_each() -> None:
    own = config(train=("shapes:n=24,size=40,labels=own", "shapes:n=6,size=40"))
    classifier = own.classifier()
    labels = [r.label for data in own.sets(own.train) for r in data.records]
    known = [label for label in labels if label is not None and label < len(classifier.labels)]
    assert 0 < len(known) < len(labels)  # the second set has none of these labels
    seen = leak_job.training_pictures(own, classifier, 2, 0)
    assert sorted(seen.labels.tolist()) == sorted(label for k in set(known) for label in [k] * min(known.count(k), 2))
    assert len(leak_job.training_pictures(own, classifier, None, 0)) == len(known)
    three = Classifier(tiny_net(classes=3), input_size=32)
    assert (
        set(leak_job.training_pictures(own, three, None, 0).labels.tolist())
        == {k for k in known if k < 3}
        != set(known)
    )
    with pytest.raises(InputError, match="no training picture has a label that tiny knows"):
        leak_job.training_pictures(config(train=("shapes:n=6,size=40",)), classifier, 2, 0)


def test_a_column_that_other_cells_fill_leaves_a_cell_as_it_is(tmp_path: Path) -> None:
    def folder(job: object, *columns: Column) -> str:
        cell = GridCell("row", job)  # type: ignore[arg-type]
        return cell_directory(cell, config(), study([cell], *columns), tmp_path).folder.name

    for job in (CAM, Train("casm")):
        assert folder(job) == folder(job, PXAP, LEAK_COLUMN) != folder(job, Column("F1", "f1"))
    for beside in (Leak(CAM), OnMasks(CAM, (("PxAP", "pxap"),))):
        assert folder(beside) == folder(beside, Column("F1", "f1"))
    some = TrainOnSome("casm", share=0.5)
    assert folder(some) != folder(some, Column("seen", None))


def test_a_part_that_was_not_run_is_said(tmp_path: Path) -> None:
    own, other = GridCell("CAM", CAM), GridCell("middle", Explain("center"))
    part = GridCell("CAM", OnMasks(CAM, (("PxAP", "pxap"),)), part="PxAP")
    run_study(study([own, other], PXAP), config(), tmp_path)
    found = run_study(study([own, other, part], PXAP), config(), tmp_path, only=["middle"])
    assert found.not_run == [] and found.parts_not_run == ["CAM: PxAP"]
    assert missing(found) == ["Not run: CAM: PxAP."]
    whole = run_study(study([own, other, part], PXAP), config(), tmp_path, only=["CAM"])
    assert missing(whole) == [] and whole.made == 1


def test_settings_of_ones_own_are_on_the_page(tmp_path: Path) -> None:
    cells = [GridCell("CASM", Train("casm"))]
    found = run_study(study(cells), config(overrides=("batch_size=3",)), tmp_path)
    assert "In every training, instead of the scale's: batch_size=3." in circumstances(found)
    plain = run_study(study([GridCell("CAM", CAM)]), config(overrides=("batch_size=3",)), tmp_path)
    assert "batch_size" not in " ".join(circumstances(plain))
