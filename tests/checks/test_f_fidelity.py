"""F-Fidelity copy by copy and of maps whose worth is known; the judge is another one, and the classifier untouched."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from checks.toys import BLOCK, elsewhere, oracle, toy_net, toy_set
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.checks import SmallTraining, f_fidelity, train_classifier, used_to_holes
from maskwise.checks.f_fidelity import class_kept
from maskwise.checks.used_to_holes import MissingPart, missing_parts
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.measures import metric
from maskwise.measures.filling import fill_of
from maskwise.measures.single_deletion import cell_drops, cell_numbers

DRAWS = torch.Generator().manual_seed(9)
SIDE = 16
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
TINY = Classifier(tiny_net(), input_size=SIDE, name="tiny")


def test_both_sides_equal_the_copies_made_one_by_one() -> None:
    classes, sizes = torch.tensor([3, 0, 4]), (10, 60)
    most, least = class_kept(TINY, IMAGES, MAPS, classes, sizes, draws=3, share=0.2, seed=5)
    for i, image in enumerate(IMAGES):
        lots = torch.rand(3, SIDE, SIDE, generator=keyed_generator(image, 5))
        ranked = MAPS[i].flatten().argsort(descending=True)
        for k, size in enumerate(sizes):
            count, chance = round(size / 100 * SIDE * SIDE), min(0.5, 0.2 / (size / 100))
            for found, chosen in ((most, ranked[:count]), (least, ranked[-count:])):
                kept = 0
                for lot in lots:
                    copy = image.clone().flatten(1)
                    for pixel in chosen.tolist():
                        if float(lot.flatten()[pixel]) < chance:
                            copy[:, pixel] = TINY.mean
                    logits = TINY.logits(copy.reshape(1, 3, SIDE, SIDE)).detach()
                    kept += int(logits.argmax()) == int(classes[i])
                assert float(found[i, k]) == pytest.approx(kept / 3)


def test_the_most_and_the_least_salient_of_all_pixels_are_the_same() -> None:
    most, least = class_kept(TINY, IMAGES, MAPS, torch.tensor([3, 0, 4]), (100,), draws=8)
    assert torch.equal(most, least)


def noise(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return torch.rand(len(images), *images.shape[-2:], generator=torch.Generator().manual_seed(2))


def test_what_decides_is_found_and_noise_is_worth_nothing() -> None:
    train, test = toy_set(90, 0), toy_set(18, 1)
    classifier = train_classifier(toy_net, train, SmallTraining(epochs=8, until=1.0)).classifier
    before = classifier.fingerprint()
    result = f_fidelity(
        {"oracle": oracle, "elsewhere": elsewhere, "noise": noise}, classifier, test.images, train.images,
        settings=SmallTraining(epochs=2, lr=1e-3, optimiser="sgd"), share=0.1, draws=6, percent=(5, 10, 20),
    )  # fmt: skip
    means = {(row.method, row.score): row.value.mean for row in result.rows}
    assert classifier.fingerprint() == before and result.protocol["judge"] != before
    assert means["oracle", "f_fidelity"] >= means["noise", "f_fidelity"] >= means["elsewhere", "f_fidelity"] - 1e-9
    assert means["oracle", "ffid_plus"] > 0.02 and abs(means["oracle", "ffid_minus"]) < 0.02
    assert means["elsewhere", "f_fidelity"] == pytest.approx(-means["oracle", "f_fidelity"], abs=0.05)
    assert abs(means["noise", "f_fidelity"]) < 0.02, "a random order takes as much from either end"
    for name in ("oracle", "noise"):
        assert torch.allclose(
            result.values[name, "f_fidelity"], result.values[name, "ffid_plus"] - result.values[name, "ffid_minus"]
        )
    assert BLOCK.stop - BLOCK.start == 6


def test_missing_parts_are_what_they_say() -> None:
    pixels = missing_parts(400, (12, 10), "pixels", 0.3, 4, DRAWS)
    assert float(pixels.double().mean()) == pytest.approx(0.3, abs=0.01)
    cells = missing_parts(2000, (12, 8), "cell", 0.3, 4, DRAWS)
    sizes = cells.sum((1, 2))
    assert set(sizes.tolist()) == {0, 6} and float((sizes > 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert cells.any(0).all()


def test_a_judge_is_used_to_holes_and_the_same_each_time() -> None:
    train = toy_set(60, 0)
    classifier = train_classifier(toy_net, train, SmallTraining(epochs=6, until=1.0)).classifier
    how = SmallTraining(epochs=2, optimiser="sgd", lr=1e-3)
    for missing in ("pixels", "cell"):
        first, second = (used_to_holes(classifier, train.images, missing=missing, settings=how) for _ in range(2))  # type: ignore[arg-type]
        assert first.fingerprint() == second.fingerprint() != classifier.fingerprint()
        assert not any(weight.requires_grad for weight in first.module.parameters())


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({"draws": 0}, {"percent": ()}, {"percent": (0,)}, {"percent": (101,)}, {"share": 0}):
        with pytest.raises(InputError):
            f_fidelity({"noise": noise}, TINY, IMAGES, IMAGES, **wrong)
    with pytest.raises(InputError, match="fewer than two pictures"):
        used_to_holes(TINY, IMAGES[:1])
    with pytest.raises(InputError, match="missing is pixels or cell"):
        used_to_holes(TINY, IMAGES, missing="half")  # type: ignore[arg-type]


def by_class(images: Tensor, targets: Tensor | None = None) -> Tensor:
    """A map that is another one for each class."""
    assert targets is not None
    return (images.mean(1) * (targets[:, None, None] + 2)) % 1


def test_the_judge_s_own_mistakes_count_and_every_option_arrives() -> None:
    """A judge that is right about some pictures only, asked with a share that is not the default."""
    images = torch.rand(12, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    classes = TINY.logits(images).argmax(1)
    judges = (Classifier(tiny_net(seed=seed), input_size=SIDE, name="other") for seed in range(1, 40))
    judge = next(j for j in judges if 0 < (j.logits(images).argmax(1) == classes).sum() < 12)
    right = (judge.logits(images).argmax(1) == classes).double()
    how = {"percent": (10, 60), "draws": 3, "share": 0.6, "seed": 5}
    found = f_fidelity({"m": by_class}, TINY, images, images, judge=judge, batch=5, **how).values  # type: ignore[arg-type]
    most, least = class_kept(judge, images, by_class(images, classes), classes, **how)  # type: ignore[arg-type]
    assert torch.allclose(found["m", "ffid_plus"], right - most.mean(1))
    assert torch.allclose(found["m", "ffid_minus"], right - least.mean(1))
    assert torch.allclose(found["m", "f_fidelity"], least.mean(1) - most.mean(1))


class Seen(nn.Module):
    """The tiny network, which files what it was shown in training and else, also its copies."""

    shown: ClassVar[list[tuple[bool, Tensor]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_net()

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append((self.training, images.detach().clone()))
        found: Tensor = self.inner(images)
        return found


def test_what_is_taken_becomes_the_mean_colour_which_is_zero_once_normalised() -> None:
    judge = Classifier(Seen(), input_size=SIDE, name="seen")
    light = 0.9 + 0.1 * IMAGES  # no value near the mean colour
    Seen.shown.clear()
    class_kept(judge, light, MAPS, torch.tensor([3, 0, 4]), (50,), draws=4, share=0.25)
    copies = torch.cat([images for _, images in Seen.shown])
    gone = copies.abs().amax(1) < 1e-6
    assert len(copies) == 2 * 3 * 4 and float(gone.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert (copies.movedim(1, -1)[~gone] > 1).all()


@pytest.mark.parametrize(("missing", "share"), [("pixels", 0.3), ("cell", 0.5 / 16)])
def test_a_judge_is_trained_on_pictures_with_holes(missing: MissingPart, share: float) -> None:
    classifier = Classifier(Seen(), input_size=SIDE, name="seen")
    train = 0.9 + 0.1 * torch.rand(200, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    Seen.shown.clear()
    how = SmallTraining(epochs=2, optimiser="sgd", lr=1e-3)
    used_to_holes(classifier, train, missing=missing, share=0.3, settings=how)
    learned = torch.cat([images for training, images in Seen.shown if training])
    gone = learned.abs().amax(1) < 1e-6
    assert float(gone.double().mean()) == pytest.approx(share, rel=0.2)
    if missing == "cell":
        assert set(gone.sum((1, 2)).tolist()) == {0, (SIDE // 4) ** 2}


def test_idsds_asks_the_judge_for_the_class_of_the_classifier() -> None:
    """A map that is the judge's own losses, cell by cell, has 1 with the judge, and not with the classifier."""
    judge = used_to_holes(TINY, IMAGES, missing="cell", settings=SmallTraining(epochs=1, optimiser="sgd", lr=0.5))
    classes = TINY.logits(IMAGES).argmax(1)
    number = cell_numbers(SIDE, SIDE, 4)
    drops = cell_drops(judge, IMAGES, fill_of("mean"), classes)
    maps = drops[:, number]
    asked = {"images": IMAGES, "targets": classes}
    assert metric("idsds", judge, target="class").per_image(maps, **asked)[:, 0].tolist() == pytest.approx([1] * 3)
    assert metric("idsds", TINY, target="class").per_image(maps, **asked)[:, 0].max() < 1
