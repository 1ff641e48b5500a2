"""The data randomisation test: random labels are memorised, and what ignores the classifier is found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from checks.toys import toy_net, toy_set

from maskwise.checks import Labelled, SmallTraining, drt, trained_masker
from maskwise.checks.drt import MakeExplainer
from maskwise.checks.maskers import write_folder
from maskwise.checks.results import RANDOM_LABELS, TRUE_AGAIN, TRUE_LABELS
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.explainers import Explainer, explainer

TRAINING = SmallTraining(epochs=80, batch_size=12, lr=0.01, until=1.0)
TRAIN, TEST = toy_set(36, 0), toy_set(30, 1)


def told(name: str) -> MakeExplainer:
    def make(classifier: Classifier, data: Labelled, folder: Path) -> Explainer:
        return explainer(name, classifier)

    return make


def test_random_labels_are_memorised_and_edges_do_not_care() -> None:
    methods = {"edges": told("edges"), "gradient": told("gradient")}
    result = drt(methods, TRAIN, TEST, network=toy_net, settings=TRAINING)
    reached = result.trainings
    assert reached[TRUE_LABELS]["train"] == reached[RANDOM_LABELS]["train"] == 100
    assert reached[TRUE_LABELS]["test"] > 90 and reached[RANDOM_LABELS]["test"] < 60
    assert reached[RANDOM_LABELS]["epochs"] > reached[TRUE_LABELS]["epochs"]
    values = {(row.method, row.against, row.similarity): row.value.mean for row in result.rows}
    assert len(values) == len(result.rows) == 2 * 2 * 4
    assert all(value == 1 for (method, *_), value in values.items() if method == "edges")
    for name in ("spearman", "hog", "ssim"):
        assert values["gradient", RANDOM_LABELS, name] < values["gradient", TRUE_AGAIN, name] < 1
    assert result.maps["gradient"][TRUE_LABELS].shape == (3, 24, 24)


def test_copies_of_test_pictures_under_one_subject_leave_the_intervals_as_they_were() -> None:
    short = SmallTraining(epochs=1, batch_size=12)
    twice = torch.arange(len(TEST)).repeat(2)
    whose = tuple(f"P{i}" for i in twice.tolist())
    copies = replace(TEST, images=TEST.images[twice], labels=TEST.labels[twice], subjects=whose)
    once, both = (
        drt({"gradient": told("gradient")}, TRAIN, test, network=toy_net, settings=short, again=False)
        for test in (TEST, copies)
    )
    for old, new in zip(once.rows, both.rows, strict=True):
        assert old.value.low < old.value.high
        assert (new.value.low, new.value.high) == pytest.approx((old.value.low, old.value.high), abs=1e-5)
    assert "30 subjects of 60 pictures" in both.protocol["methods"]["gradient"]["interval"]


def test_masks_of_random_labels_are_less_alike_than_those_of_another_training_on_the_true_ones() -> None:
    """Over four trainings: so small a network has one in six the other way round."""
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(4):
        settings = TRAINING.model_copy(update={"seed": seed})
        for row in drt({"gradient": told("gradient")}, TRAIN, TEST, network=toy_net, settings=settings).rows:
            found.setdefault((row.similarity, row.against), []).append(row.value.mean)
    for name in ("spearman", "hog", "ssim"):
        assert mean(found[name, RANDOM_LABELS]) < 0.8 * mean(found[name, TRUE_AGAIN]) < 0.8


def test_a_second_run_takes_what_the_first_has_trained(tmp_path: Path) -> None:
    quick = TRAINING.model_copy(update={"epochs": 2})
    steps = []

    def run(again: bool) -> object:
        found = drt(
            {"gradient": told("gradient")}, TRAIN, TEST, network=toy_net, settings=quick, again=again, out=tmp_path,
            progress=lambda done, total: steps.append(done / total),
        )  # fmt: skip
        return [row.plain() for row in found.rows if row.against == RANDOM_LABELS], found.trainings[TRUE_LABELS]

    first = run(again=False)
    assert steps == sorted(steps) and steps[-1] == 1
    steps.clear()
    assert run(again=True) == first
    assert len(steps) == 6 and min(steps) > 2 / 3  # only the third is trained
    (tmp_path / "classifiers" / "random_labels.safetensors").unlink()
    assert run(again=True) == first
    with pytest.raises(InputError, match="another run"):
        drt({"gradient": told("gradient")}, TRAIN, TEST, network=toy_net, settings=TRAINING, out=tmp_path)


def test_uniform_labels_and_first_weights() -> None:
    """The two classifiers begin from the same weights and differ by their labels alone."""
    none = TRAINING.model_copy(update={"epochs": 1, "lr": 1e-30})
    seen: list[tuple[Classifier, Labelled]] = []

    def make(classifier: Classifier, data: Labelled, folder: Path) -> Explainer:
        seen.append((classifier, data))
        return explainer("center", classifier)

    drt({"center": make}, TRAIN, TEST, network=toy_net, settings=none, labels="uniform")
    (a, true), (b, random), (c, again) = seen
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in (a, b, c)]
    assert torch.allclose(weights[0], weights[1]) and not torch.allclose(weights[0], weights[2])
    assert torch.equal(true.labels, again.labels) and not torch.equal(true.labels, random.labels)
    assert not torch.equal(random.labels.bincount(), true.labels.bincount())


def test_a_masker_is_trained_on_each_classifier(tmp_path: Path) -> None:
    data = TRAIN.shrunk(32)
    overrides = ["epochs=1", "fraction=1.0", "batch_size=12", "taps=null", "crop_area=[0.9, 1.0]"]
    method = trained_masker("casm_baseline", overrides=overrides, device="cpu")
    quick = TRAINING.model_copy(update={"epochs": 2})
    result = drt(
        {"casm_baseline": method}, data, TEST.shrunk(32), network=toy_net, settings=quick, again=False, out=tmp_path
    )
    assert result.protocol["methods"]["casm_baseline"]["maps"] == "mask logits"
    assert len(result.rows) == 4 and all(row.value.mean < 1 for row in result.rows)
    homes = [tmp_path / "maskers" / f"casm_baseline_{name}" for name in ("true_labels", "random_labels")]
    stored = [read_data(home / "pictures") for home in homes]
    assert [record.label for record in stored[0].records] == data.labels.tolist()
    assert [record.label for record in stored[1].records] != data.labels.tolist()
    assert all((home / "masker" / "masker.safetensors").is_file() for home in homes)


def test_pictures_as_a_data_folder_are_bit_for_bit_the_same(tmp_path: Path) -> None:
    write_folder(TEST, tmp_path / "set")
    data = read_data(tmp_path / "set")
    assert torch.equal(torch.stack([sample.image for sample in data]), TEST.floats())
    assert [record.label for record in data.records] == TEST.labels.tolist()


def test_bad_options() -> None:
    with pytest.raises(InputError, match="needs a method"):
        drt({}, TRAIN, TEST)
    with pytest.raises(InputError, match="same classes"):
        drt({"edges": told("edges")}, TRAIN, Labelled(TEST.images, TEST.labels, ("a", "b", "c")))
    with pytest.raises(InputError, match="shuffled or uniform"):
        drt({"edges": told("edges")}, TRAIN, TEST, labels="mixed")  # type: ignore[arg-type]
