"""ROAR pixel by pixel, with numpy and Pillow: what is trained on, and what is made of the answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checks.toys import toy_net
from conftest import tiny_net
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskwise.checks import Labelled, SmallTraining, roar
from maskwise.checks.results import RoarResult
from maskwise.checks.small_training import Trained
from maskwise.classifiers import Classifier

SHAPE, SMALL = (24, 16), (12, 8)
SHARES, REPEATS = (25.0, 60.0), 2
QUICK = SmallTraining(epochs=1, batch_size=8, seed=3)
Pictures = NDArray[Any]


def pictures(count: int, seed: int) -> Labelled:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, *SHAPE), generator=draws, dtype=torch.uint8)
    labels = torch.arange(count) % 7
    images[torch.arange(count), labels % 3] //= 3
    return Labelled(images, labels, tuple("abcdefg"))


TRAIN, TEST = pictures(21, 0), pictures(14, 1)
ASKED: list[tuple[Tensor, Tensor]] = []


def of_class(images: Tensor, targets: Tensor | None = None) -> Tensor:
    """A map that depends on picture and class, without equal values."""
    assert targets is not None
    ASKED.append((images.clone(), targets.clone()))
    ramp = torch.linspace(0, 1e-3, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    return (images[torch.arange(len(images)), targets % 3] * 0.9 + ramp).clamp(0, 1)


@pytest.fixture(scope="module")
def run() -> tuple[RoarResult, list[tuple[Labelled, SmallTraining, Trained]], Classifier]:
    """A run, and each of its trainings in order."""
    classifier = Classifier(tiny_net(seed=2), input_size=SHAPE, name="tiny")
    module = sys.modules["maskwise.checks.roar"]
    real: Callable[..., Trained] = module.train_classifier
    seen: list[tuple[Labelled, SmallTraining, Trained]] = []
    tested: list[Labelled] = []

    def watched(make: Any, data: Labelled, settings: SmallTraining, **more: Any) -> Trained:
        trained = real(make, data, settings, **more)
        seen.append((data, settings, trained))
        return trained

    def measured(judge: Classifier, data: Labelled, best: tuple[int, ...]) -> list[float]:
        tested.append(data)
        assert best == (1, 5)
        scores = judge.logits(data.floats()).detach().numpy()
        ranks = [int((row > row[label]).sum()) for row, label in zip(scores, data.labels.tolist(), strict=True)]
        return [float(np.mean([rank < k for rank in ranks])) for k in best]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_classifier", watched)
        patch.setattr(module, "accuracies", measured)  # of the twin's; the real one's numbers are compared below
        twin = roar({"m": of_class}, classifier, TRAIN, TEST, network=toy_net, settings=QUICK, fractions=SHARES,
                    repeats=REPEATS, size=SMALL)  # fmt: skip
    plain = roar({"m": of_class}, classifier, TRAIN, TEST, network=toy_net, settings=QUICK, fractions=SHARES,
                 repeats=REPEATS, size=SMALL)  # fmt: skip
    assert [(row.top1, row.top5) for row in plain.rows] == [(row.top1, row.top5) for row in twin.rows]
    return plain, [(a, b, c) for (a, b, c) in seen] + [(t, QUICK, seen[0][2]) for t in tested], classifier


def squashed(plane: Pictures) -> Pictures:
    return np.asarray(
        Image.fromarray(plane.astype(np.float32), mode="F").resize(SMALL[::-1], Image.Resampling.BILINEAR)
    )


def by_hand(data: Labelled, maps: list[Pictures] | None, share: float, colour: list[int]) -> Pictures:
    """The pictures squashed, their first ``share`` percent of pixels by the maps painted over one after another."""
    made = np.stack([[np.rint(squashed(plane)) for plane in image] for image in data.images.numpy()])
    if maps is None:
        return made
    for image, saliency in zip(made, maps, strict=True):
        places = sorted(np.ndindex(SMALL), key=lambda at: (-saliency[at], at))
        for y, x in places[: round(share / 100 * SMALL[0] * SMALL[1])]:
            image[:, y, x] = colour
    return made


def test_the_trainings_are_those_by_hand(run: Any) -> None:
    result, seen, classifier = run
    trained, tested = seen[: len(seen) // 2], [data for data, _, _ in seen[len(seen) // 2 :]]
    plan = [("none", 0.0, r) for r in range(REPEATS)]
    plan += [(name, share, r) for name in ("random removal", "m") for share in SHARES for r in range(REPEATS)]
    assert len(plan) == len(trained) == len(tested)
    colour = [round(float(by_hand(TRAIN, None, 0, [])[:, c].mean())) for c in range(3)]
    classes = {name: classifier.logits(data.floats()).argmax(1) for name, data in (("train", TRAIN), ("test", TEST))}
    for (name, share, repeat), (data, settings, _), test in zip(plan, trained, tested, strict=True):
        assert settings.seed == QUICK.seed + repeat
        for which, (given, own, label) in enumerate(((data, TRAIN, "train"), (test, TEST, "test"))):
            assert torch.equal(given.labels, own.labels)
            maps: list[Pictures] | None = None
            if name == "m":
                maps = [squashed(m.numpy()) for m in of_class(own.floats(), classes[label])]
            elif name == "random removal":
                seed = int(np.random.SeedSequence((QUICK.seed, repeat, which)).generate_state(1)[0])
                maps = list(torch.rand(len(own), *SMALL, generator=torch.Generator().manual_seed(seed)).numpy())
            found = given.images[torch.arange(len(own))].numpy().astype(int)
            expected = by_hand(own, maps, share, [-1, -1, -1])
            gone = expected[:, 0] == -1
            assert (gone.sum((1, 2)) == round(share / 100 * SMALL[0] * SMALL[1])).all()
            assert (found.transpose(0, 2, 3, 1)[gone] == colour).all(), (name, share, repeat)
            away = np.abs(found - expected).transpose(0, 2, 3, 1)[~gone]
            assert away.max() <= 1 and away.mean() < 0.01, "one level is rounding"
    assert [(row.method, row.removed) for row in result.rows] == [(n, s) for n, s, r in plan if r == 0]


def test_maps_are_of_the_classifier_s_top_class_and_made_once(run: Any) -> None:
    _, _, classifier = run
    assert len({tuple(images.shape) for images, _ in ASKED}) <= 2
    for images, targets in ASKED:
        assert torch.equal(classifier.logits(images).argmax(1), targets)


def test_means_spread_and_the_gap_to_random_removal(run: Any) -> None:
    result, seen, _ = run
    plain = result.plain()
    top1 = {(row.method, row.removed): row.top1 for row in result.rows}
    gaps = [np.mean(top1["random removal", share]) - np.mean(top1["m", share]) for share in SHARES]
    assert plain["below_random"] == {"m": pytest.approx(np.mean(gaps))}
    for row in plain["rows"]:
        assert row["top1"] == pytest.approx(np.mean(row["top1_repeats"]))
        assert row["top1_std"] == pytest.approx(np.std(row["top1_repeats"], ddof=1))
        assert len(row["top5_repeats"]) == REPEATS and row["top5"] >= row["top1"]
    known = [100 * trained.accuracy for _, _, trained in seen[: len(seen) // 2]]
    assert [value for row in result.rows for value in row.train_top1] == pytest.approx(known)
