"""ROAR where it is known which pixels carry the label; removal to the pixel; going on after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from checks.toys import BLOCK, SIDE, elsewhere, oracle, toy_net, toy_set
from conftest import tiny_net
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwise.checks import Labelled, SmallTraining, roar
from maskwise.checks.cells import Cells
from maskwise.checks.map_store import stored_maps
from maskwise.checks.networks import filed_as
from maskwise.checks.removal import random_maps, removed
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.most_salient import most_salient
from maskwise.explainers import explainer

TRAINING = SmallTraining(epochs=8, batch_size=12, lr=0.01)
TRAIN, TEST = toy_set(60, 0), toy_set(60, 1)


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(classes=3), input_size=SIDE, name="tiny")


@given(arrays("float32", (2, 3, 5), elements=st.sampled_from([0.0, 0.5, 1.0])), st.floats(0, 100))
@settings(max_examples=100, deadline=None)
def test_the_most_salient_are_the_first_of_a_stable_sort(values: object, percent: float) -> None:
    maps = torch.as_tensor(values)
    count = round(percent / 100 * 15)
    for m, found in zip(maps.tolist(), most_salient(maps, percent).tolist(), strict=True):
        pixels = [(-value, y, x) for y, row in enumerate(m) for x, value in enumerate(row)]
        expected = {(y, x) for _, y, x in sorted(pixels)[:count]}
        assert {(y, x) for y, row in enumerate(found) for x, gone in enumerate(row) if gone} == expected


def test_removed_pixels_have_the_colour_and_the_others_are_as_they_were() -> None:
    colour = torch.tensor([0.1, 0.5, 0.9])
    images = removed(TEST.images, oracle(TEST.images), 100 * 36 / SIDE**2, colour)
    assert images[:, :, BLOCK, BLOCK].unique(dim=0).tolist() == [[[[c] * 6] * 6 for c in (26, 128, 230)]]
    kept = torch.ones(SIDE, SIDE, dtype=torch.bool)
    kept[BLOCK, BLOCK] = False
    assert torch.equal(images[:, :, kept], TEST.images[:, :, kept])
    with pytest.raises(InputError, match="must fit"):
        removed(TEST.images, oracle(TEST.images)[:3], 10, colour)
    with pytest.raises(InputError, match="0 to 100"):
        most_salient(oracle(TEST.images), 101)


def test_without_the_pixels_that_carry_the_label_accuracy_is_chance(classifier: Classifier) -> None:
    result = roar(
        {"oracle": oracle, "elsewhere": elsewhere}, classifier, TRAIN, TEST, network=toy_net, settings=TRAINING,
        fractions=[10, 60], repeats=1,
    )  # fmt: skip
    top1 = {(row.method, row.removed): row.top1[0] for row in result.rows}
    assert top1["none", 0] > 95
    for share in (10.0, 60.0):
        assert top1["oracle", share] < 50 and top1["elsewhere", share] > 95
        assert top1["random removal", share] > 85
    assert result.below_random()["oracle"] > 40 and result.below_random()["elsewhere"] <= 0
    assert [row.method for row in result.rows] == ["none", *["random removal"] * 2, *["oracle"] * 2, *["elsewhere"] * 2]
    assert all(row.top5 == (100.0,) for row in result.rows)  # of three classes


def test_noise_differs_between_repeats_and_is_the_same_in_each_run() -> None:
    a, b = random_maps(3, 8, 0, 0, 1), random_maps(3, 8, 0, 1, 1)
    assert not torch.equal(a, b) and torch.equal(a, random_maps(3, 8, 0, 0, 1))
    assert not torch.equal(a[0], a[1])


class Counted:
    """The oracle, which counts its calls; by its identity it is the same one however many there were."""

    identity: ClassVar[dict[str, str]] = {"method": "counted"}

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return oracle(images)


def test_a_killed_run_goes_on(classifier: Classifier, tmp_path: Path) -> None:
    """Cells and maps that are on disk are not made again, and the result is that of an undisturbed run."""
    counted = Counted()
    quick = TRAINING.model_copy(update={"epochs": 1})

    def run(out: Path, stop_after: int | None = None) -> object:
        def progress(done: int, total: int) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        return roar(
            {"counted": counted}, classifier, TRAIN, TEST, network=toy_net, settings=quick, fractions=[20, 40],
            repeats=2, out=out, batch=32, progress=progress,
        ).plain()  # fmt: skip

    whole = run(tmp_path / "whole")
    assert counted.calls == 4  # two batches of training pictures and two of test pictures, once
    counted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_after=7)
    rows = tmp_path / "killed" / "rows.jsonl"
    assert len(rows.read_text().splitlines()) == 8
    with rows.open("a") as file:
        file.write('{"method": "counted", "remo')  # the kill came in the middle of a write
    assert run(tmp_path / "killed") == whole and counted.calls == 4
    assert rows.read_text() == (tmp_path / "whole" / "rows.jsonl").read_text()
    assert run(tmp_path / "killed") == whole and counted.calls == 4
    with pytest.raises(InputError, match="another run .training"):
        roar({"counted": counted}, classifier, TRAIN, TEST, network=toy_net, settings=TRAINING, out=tmp_path / "killed")


def test_another_network_of_the_same_name_has_no_old_trainings(classifier: Classifier, tmp_path: Path) -> None:
    """Both are called ``<lambda>``; only one of them is what was trained."""
    quick = TRAINING.model_copy(update={"epochs": 1})

    def run(network: Any) -> None:
        roar({"m": oracle}, classifier, TRAIN, TEST, network=network, settings=quick, fractions=[40], repeats=1,
             out=tmp_path)  # fmt: skip

    run(lambda classes: toy_net(classes))
    written = (tmp_path / "rows.jsonl").read_text()
    run(lambda classes: toy_net(classes))
    assert (tmp_path / "rows.jsonl").read_text() == written
    with pytest.raises(InputError, match="another run .network"):
        run(lambda classes: tiny_net(classes=classes))
    assert filed_as("small_cnn") == "small_cnn"


def test_maps_are_squashed_to_the_size_that_is_trained_on(classifier: Classifier, tmp_path: Path) -> None:
    subject = Subject.of(oracle, classifier)
    targets = torch.zeros(len(TEST), dtype=torch.int64)
    maps = stored_maps(subject, TEST.images, targets, 12, tmp_path)
    assert maps.shape == (60, 12, 12) and (maps[:, 4:7, 4:7] > 0.75).all()
    assert (
        maps.flatten(1).topk(9).indices.sort().values
        == torch.tensor([12 * y + x for y in (4, 5, 6) for x in (4, 5, 6)])
    ).all()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert torch.equal(stored_maps(subject, TEST.images, targets, 12, tmp_path), maps)
    files[0].write_bytes(b"broken")
    assert torch.equal(stored_maps(subject, TEST.images, targets, 12, tmp_path), maps)
    stored_maps(Subject.of(explainer("edges", classifier), classifier), TEST.images, targets, 12, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_options_of_a_method_part_its_rows(classifier: Classifier, tmp_path: Path) -> None:
    quick = TRAINING.model_copy(update={"epochs": 1})
    for seed in (0, 1):
        noise = explainer("random", classifier, seed=seed)
        roar({"random": noise}, classifier, TRAIN, TEST, network=toy_net, settings=quick, fractions=[50], repeats=1,
             out=tmp_path)  # fmt: skip
    methods = [json.loads(line).get("method") for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert methods == [None, "none", "random removal", "random", "random"]


def test_cells_in_memory() -> None:
    cells = Cells(None, {})
    cells.add({"a": 1, "b": None})
    assert cells.find(a=1, b=None) == {"a": 1, "b": None} and cells.find(a=2) is None and cells.find(c=None) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": {}}, "needs a method"),
        ({"fractions": [0, 50]}, "above 0"),
        ({"fractions": [120]}, "up to 100"),
        ({"repeats": 0}, "a repeat"),
        ({"methods": {"none": oracle}}, "can't be called"),
        ({"test": Labelled(TEST.images, TEST.labels, ("a", "b", "c"))}, "same classes"),
        ({"network": "huge"}, "unknown network"),
    ],
)
def test_bad_options(classifier: Classifier, change: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"methods": {"oracle": oracle}, "classifier": classifier, "train": TRAIN, "test": TEST}
    with pytest.raises(InputError, match=words):
        roar(**{**given, **change})  # type: ignore[arg-type]
