"""Masks of single classes: which are asked for, what becomes of them in a step, and what they learn to tell apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from lightning.fabric import Fabric
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.data import read_data
from maskwise.training import Recipe
from maskwise.training.class_wise import ask, drawn
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer
from maskwise.training.objectives import Term

SIDE, KINDS = 64, 8
CLASS_WISE: dict[str, Any] = {
    "thinning": "F", "fraction": 1.0, "batch_size": 8, "input_size": 32, "decoder": "mixed", "class_tap": True,
    "class_peak": "top", "width": 6, "mix": 8, "head_std": 0.02, "negatives": 2, "tv_form": "l1",
    "objectives": {
        "max_class": Term(lambda_r=0), "max_entropy": Term(lambda_r=0), "area_band": Term(), "non_target": Term(),
    },
}  # fmt: skip


# ---- which classes are asked for -------------------------------------------------------------------------------


def test_each_picture_s_class_comes_first_and_no_negative_is_it_or_comes_twice() -> None:
    labels = torch.randint(6, (500,))
    asked = ask(labels, torch.ones(6), most=8, negatives=3)
    assert asked.own == 1 and asked.there.all() and torch.equal(asked.classes[:, 0], labels)
    for row in asked.classes.tolist():
        assert len(set(row)) == 4


def test_findings_are_all_asked_for_until_there_are_too_many() -> None:
    findings = torch.zeros(3, 10, dtype=torch.bool)
    findings[0, [2, 7]] = True
    findings[1, :9] = True
    asked = ask(findings, torch.ones(10), most=4, negatives=2)
    found = [row[there].tolist() for row, there in zip(asked.classes, asked.there, strict=True)]
    assert asked.own == 4 and asked.classes.shape == (3, 6)
    assert set(found[0][:2]) == {2, 7} and len(found[0]) == 4 and not {2, 7} & set(found[0][2:])
    assert len(set(found[1][:4])) == 4 and max(found[1][:4]) < 9 and found[1][4:] == [9], "only one class is not there"
    assert len(found[2]) == 2, "nothing is found, and two classes are not there"


def test_classes_are_drawn_by_their_weights() -> None:
    """The first in proportion, the second of what is left; a class of weight 0 never."""
    weights = torch.tensor([1.0, 2.0, 0.0, 3.0]).expand(40_000, 4)
    places, there = drawn(weights, 2)
    assert there.all()
    first, second = (Counter(column) for column in places.T.tolist())
    assert [first[c] / 40_000 for c in range(4)] == pytest.approx([1 / 6, 2 / 6, 0, 3 / 6], abs=0.01)
    after = [1 / 6 * (2 / 5) + 3 / 6 * (2 / 3), second[1] / 40_000]
    assert after[0] == pytest.approx(after[1], abs=0.01) and second[2] == 0


# ---- in a step ---------------------------------------------------------------------------------------------------


def trainer(settings: dict[str, Any] | None = None, **options: Any) -> MaskTrainer:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny", **options)
    recipe = Recipe(**{**CLASS_WISE, **(settings or {})})
    return MaskTrainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))


def test_the_union_of_findings_is_what_is_judged() -> None:
    t = trainer(activation="sigmoid")
    images, findings = torch.rand(3, 3, 32, 32), torch.zeros(3, 5, dtype=torch.bool)
    findings[0, [1, 4]] = True
    findings[1, 2] = True
    t.masker.eval()
    with torch.no_grad():
        taps = t.live.features(images)[1]
        masks, by_class = t._mask(images, taps, findings)
        every = t.masker.masks_for(images, taps, torch.arange(5).expand(3, 5))
    torch.testing.assert_close(masks[0], torch.maximum(every[0, 1], every[0, 4]))
    torch.testing.assert_close(masks[1], every[1, 2])
    assert masks[2].count_nonzero() == 0, "where nothing is found there is nothing to show"
    assert by_class is not None and by_class.others is not None
    assert by_class.own.there.sum(1).tolist() == [2, 1, 0] and by_class.others.there.all()


def test_a_step_learns_from_the_prediction_or_the_label() -> None:
    """A label that the classifier would never give counts with one setting and not with the other."""
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    predicted = trainer().live.logits(images).argmax(1)
    losses = {}
    for explains in ("prediction", "label"):
        right, wrong = (
            trainer({"explains": explains, "negatives": 0, "objectives": {"max_class": Term()}}).step(images, labels)
            for labels in (predicted, (predicted + 1) % 5)
        )
        losses[explains] = right["loss"], wrong["loss"]
    assert losses["prediction"][0] == losses["prediction"][1] == losses["label"][0] < losses["label"][1]


def test_a_sigmoid_classifier_s_masks_of_findings_learn() -> None:
    t = trainer({"masker_lr": 0.01}, activation="sigmoid")
    images, findings = torch.rand(8, 3, 32, 32), torch.rand(8, 5) < 0.4
    losses = [t.step(images, findings)["loss"] for _ in range(30)]
    assert all(map(torch.isfinite, torch.tensor(losses))) and losses[-1] < losses[0]


def test_negatives_are_drawn_as_pictures_show_them(picture_folder: Path) -> None:
    data = read_data(picture_folder)
    t = trainer({"negatives_of": "pictures"})
    loader = Loader([data], t.recipe, (32, 32))
    loader.labels = [1 if k < 3 else 4 for k in range(len(loader.items))]
    t.prepare(loader, picture_folder)
    assert t.class_weights.tolist() == [0, 3, 0, 0, len(loader.items) - 3]
    even = trainer()
    even.prepare(loader, picture_folder)
    assert even.class_weights.tolist() == [1] * 5


def test_permuting_classes_permutes_the_masks() -> None:
    """Asked in another order, and with the classifier's classes in another order: each class keeps its mask."""
    order = torch.tensor([3, 0, 4, 1, 2])
    t, other = trainer(), trainer()
    last = other.masker.encoder.module[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(last.weight[order])
        last.bias.copy_(last.bias[order])
    images, classes = torch.rand(2, 3, 32, 32), torch.arange(5).expand(2, 5)
    with torch.no_grad():
        nn.init.normal_(t.masker.decoder.head.weight)
        other.masker.decoder.load_state_dict(t.masker.decoder.state_dict())
        masks = t.masker.eval()(images, classes)[1]
        torch.testing.assert_close(t.masker(images, order.expand(2, 5))[1], masks[:, order])
        torch.testing.assert_close(other.masker.eval()(images, classes)[1], masks[:, order])
    assert masks.std(1).max() > 1e-3, "classes have masks of their own"


# ---- what is learnt ----------------------------------------------------------------------------------------------

COLOURS = torch.tensor([[r, g, b] for r in (0.1, 0.9) for g in (0.1, 0.9) for b in (0.1, 0.9)])


def colours(activation: Any) -> Classifier:
    """Class k where something has colour k: how near each place is to each colour, averaged over places."""
    nearness, last = nn.Conv2d(3, KINDS, 4, 4), nn.Linear(KINDS, KINDS)
    signs = (COLOURS > 0.5).float() * 2 - 1  # grey is 0 once it is normalised
    with torch.no_grad():
        nearness.weight.copy_((signs / 16)[:, :, None, None].expand(-1, -1, 4, 4))
        nearness.bias.fill_(-0.6)  # type: ignore[union-attr]
        last.weight.copy_(400 * torch.eye(KINDS))
        last.bias.fill_(-2)
    network = nn.Sequential(nearness, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()
    return Classifier(
        network, mean=[0.5] * 3, std=[1.0] * 3, input_size=SIDE, activation=activation, taps=["1"], name="colours"
    )


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N,3,S,S) of two drawn shapes on grey, each in its class's colour; classes (N,2); truth (N,2,S,S)."""
    data = read_data(f"shapes:n={10 * count},size={SIDE},seed={seed},objects=2")
    pictures, classes, truth = [], [], []
    for record in data.records:
        sample = data.sample(record)
        assert sample.box_masks is not None and sample.box_classes is not None
        if len(sample.box_masks) == 2 and sample.box_masks[1].sum() > 40 and len(pictures) < count:
            picture = torch.full((3, SIDE, SIDE), 0.5)
            for mask, kind in zip(sample.box_masks, sample.box_classes.tolist(), strict=True):
                picture = torch.where(mask, COLOURS[kind][:, None, None], picture)
            pictures.append(picture)
            classes.append(sample.box_classes)
            truth.append(sample.box_masks)
    return torch.stack(pictures), torch.stack(classes), torch.stack(truth)


@pytest.mark.parametrize(("activation", "steps"), [("softmax", 60), ("sigmoid", 80)])
def test_two_objects_of_a_picture_get_masks_apart(activation: Any, steps: int) -> None:
    """One forward answers for both classes: IoU of the two masks below 0.2, and each lies on its own shape."""
    classifier = colours(activation)
    recipe = Recipe(**{**CLASS_WISE, "batch_size": 16, "input_size": SIDE, "masker_lr": 0.01, "negatives": 3})
    t = MaskTrainer(classifier, recipe, 5, Fabric(accelerator="cpu", devices=1))
    images, classes, _ = scenes(64, seed=1)
    rows = torch.arange(16)
    for step in range(steps):
        some = torch.arange(step * 16, step * 16 + 16) % 64
        findings = torch.zeros(16, KINDS, dtype=torch.bool)
        findings[rows[:, None], classes[some]] = True
        t.step(images[some], findings if activation == "sigmoid" else classes[some, step % 2])
    images, classes, truth = scenes(24, seed=2)
    with torch.no_grad():
        masks = t.masker.eval()(images, classes)[1] > 0.5
        third = torch.tensor([next(k for k in range(KINDS) if k not in pair) for pair in classes.tolist()])
        absent = t.masker(images, third[:, None])[1][:, 0]
    apart = overlap(masks[:, 0], masks[:, 1])
    assert apart.mean() < 0.2
    assert overlap(masks[:, 0], truth[:, 0]).mean() > 0.5 and overlap(masks[:, 1], truth[:, 1]).mean() > 0.3
    assert overlap(masks[:, 0], truth[:, 1]).mean() < 0.05
    assert (absent > 0.5).float().mean() < 0.05, "of a class that is not there nothing is found"


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N,) of masks (N,H,W) bool; 0 where both are empty."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)
