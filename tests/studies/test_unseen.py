"""Classes that were never seen: f(0) is trained on the subset first, and the masker on the same classes from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskwise.maskers.store import read_header
from maskwise.studies import SCALES, run_study, studies
from maskwise.studies.jobs import TrainOnSome
from maskwise.studies.report import markdown
from maskwise.studies.run import grid_cells
from maskwise.studies.run_config import RunConfig, sources_of
from maskwise.studies.tiny import tiny_classifier
from maskwise.training import recipes
from maskwise.training.subset import subset

SMOKE, SMALL, FULL = (SCALES[name] for name in ("smoke", "small", "full"))
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def config(folder: Path, **changes: Any) -> RunConfig:
    train, test = sources_of([], [], SMOKE)
    return replace(RunConfig(SMOKE, train, test, {"tiny": None}, (), SMOKE.limit, trainings=folder), **changes)


def test_classifier_and_masker_see_the_same_classes_and_no_others(tmp_path: Path) -> None:
    here = config(tmp_path)
    for seed in (0, 1):
        explainer, seen = TrainOnSome("casm_l", share=0.5, seed=seed).masker_and_classes(here)
        labels = [{r.label} for data in here.sets(here.train) for r in data.records]
        assert seen == set(subset(labels, 4, None, seed)[1]), "half of eight, drawn by the seed"
        first, masker = (
            max(tmp_path.rglob(name), key=lambda path: path.stat().st_mtime_ns)
            for name in ("classifier.safetensors", "masker.safetensors")
        )
        for path in (first, masker):
            assert set(recipes.load(path.with_name("recipe.yaml")).classes) == seen
        retrained = tiny_classifier(first)
        assert retrained.fingerprint() != tiny_classifier().fingerprint()
        assert read_header(masker)["fingerprint"] == retrained.fingerprint() == explainer.classifier.fingerprint()
    assert len(list(tmp_path.rglob("classifier.safetensors"))) == 2


def test_what_was_trained_is_taken_again(tmp_path: Path) -> None:
    job = TrainOnSome("casm_l", share=0.5)
    job.masker_and_classes(config(tmp_path))
    (first,) = tmp_path.rglob("classifier.safetensors")
    written = first.stat().st_mtime_ns
    job.masker_and_classes(config(tmp_path))
    replace(job, recipe="casm_fl").masker_and_classes(config(tmp_path))
    assert first.stat().st_mtime_ns == written and len(list(tmp_path.rglob("classifier.safetensors"))) == 1
    assert len(list(tmp_path.rglob("masker.safetensors"))) == 2


def test_of_all_classes_the_pretrained_network_is_f_0(tmp_path: Path) -> None:
    job = TrainOnSome("casm_l", share=1.0)
    explainer, seen = job.masker_and_classes(config(tmp_path))
    assert explainer.classifier.fingerprint() == tiny_classifier().fingerprint() and len(seen) == 8
    assert not job.retrains(FULL) and job.retrains(SMALL), "at small all rows begin anew, so that they are alike"


def test_a_smaller_share_is_part_of_a_larger_one(tmp_path: Path) -> None:
    one, other = (TrainOnSome("casm_l", share=share).masker_and_classes(config(tmp_path))[1] for share in (0.25, 0.5))
    assert len(one) == 2 and one < other


def test_settings_of_every_recipe_reach_those_that_have_them() -> None:
    job = TrainOnSome("casm_l", share=0.5)
    first = job.first(SMOKE, ("masker_lr=1", "weight_decay=0.5", "objectives.max_entropy.lambda_r=2"))
    assert first.weight_decay == 0.5 and first.classifier == "tiny"
    assert job.first(SMALL).title == recipes.load("classifier_subset_lite0").title
    assert job.first(FULL).classifier == "torchvision/resnet50@IMAGENET1K_V1" and job.first(FULL).start == "scratch"


def test_another_first_recipe_is_another_cell(tmp_path: Path) -> None:
    job = TrainOnSome("casm_l", share=0.5)
    keys = [job.facts(config(tmp_path, overrides=o)) for o in ((), ("momentum=0.5",))]
    assert keys[0]["first"] != keys[1]["first"]


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_cost_counts_both_trainings(share: float) -> None:
    """At full: 90 epochs of 256 of the share's pictures, and 70 of a fifth of them in batches of 128."""
    pictures = int(1_281_167 * share)
    masker = 70 * (int(pictures * 0.2) // 128)
    first = 90 * (pictures // 256) if share < 1 else 0
    assert TrainOnSome("casm_l", share=share).cost(FULL).steps == pytest.approx(masker + first, abs=70)
    assert TrainOnSome("casm_l", share=share).cost(SMALL).steps == 240 + recipes.load("classifier_subset_lite0").steps


def test_every_row_says_how_its_f_0_came_about(tmp_path: Path) -> None:
    study = studies.get("casm-unseen")
    assert {cell.note for cell in study.cells(SMALL)} == {
        "f(0): trained on the same classes, its last layers from nothing"
    }
    assert [cell.note for cell in study.cells(FULL)][-1] == "f(0): the pretrained network"
    page = markdown(run_study(study, config(tmp_path), tmp_path, only=["EF"]))
    assert "f(0): trained on the same classes, from nothing" in page
    assert [cell.job.seed for cell, _ in grid_cells(study, config(tmp_path), seeds=2, only=["F"])][:2] == [0, 1]  # type: ignore[attr-defined]


def test_the_page_that_was_run_without_it_says_so() -> None:
    page = (RESULTS / "casm-unseen.md").read_text()
    assert "f(0): trained" not in page.partition("## Claims")[0]
    assert "A row without a note on its f(0) was run before that" in page


@pytest.mark.parametrize("name", studies.names())
def test_pages_carry_their_study_s_notes_or_it_is_said_that_there_is_none(name: str) -> None:
    """A study has a page, or stands under "Not run"; never both."""
    not_run = (RESULTS / "README.md").read_text().partition("\n## Not run\n")[2]
    assert not_run
    if f"\n- `{name}`: " in not_run:
        assert not (RESULTS / f"{name}.md").exists()
        return
    page = (RESULTS / f"{name}.md").read_text()
    assert all(f"- {note}\n" in page for note in studies.get(name).notes)
