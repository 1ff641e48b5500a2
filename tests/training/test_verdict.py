"""A masker whose masks tell less than a square in the middle is called so at the end of its training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from PIL import Image
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.most_salient import most_salient
from maskwise.data import DataSet, read_data
from maskwise.maskers import Masker
from maskwise.training import Recipe, train
from maskwise.training.watch import watchers
from maskwise.training.watch.verdict import MOST, MaskerVerdict, middle_first

SIDE, COUNT = 24, 40
GREY = 128 / 255


class Corner(nn.Module):
    """Scores of three colours: how much of each is in the corner at the top left, above the mean's grey."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images[:, :, : SIDE // 2, : SIDE // 2].relu().mean((2, 3))


class Drawn(Masker):
    """A masker that draws what it is told to."""

    def __init__(self, drawn: Callable[[Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.drawn = drawn

    def forward(self, images: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert classes is not None and not self.training
        return torch.zeros(len(images), 3), self.drawn(images)[:, None]


def corner(images: Tensor) -> Tensor:
    masks = torch.zeros(len(images), SIDE, SIDE)
    masks[:, : SIDE // 2, : SIDE // 2] = 1
    return masks


def elsewhere(images: Tensor) -> Tensor:
    return 1 - corner(images)


def faint(images: Tensor) -> Tensor:
    """As good a mask as ``corner`` by the order of its pixels, and next to nothing by their values."""
    return 0.001 * corner(images)


def middle(images: Tensor) -> Tensor:
    return (0.5 + 0.4 * middle_first((SIDE, SIDE))).expand(len(images), -1, -1)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """Grey pictures with a coloured corner; each brighter than the one before."""
    (tmp_path / "pictures").mkdir()
    for k in range(COUNT):
        pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
        pixels[: SIDE // 2, : SIDE // 2, k % 3] = 180 + k
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{k:02}.png")
    return read_data(str(tmp_path / "pictures"))


def judged(
    masker: nn.Module, data: DataSet, activation: str = "softmax", count: int = COUNT, stopped: int = 0
) -> MaskerVerdict:
    classifier = Classifier(
        Corner(), mean=[GREY] * 3, std=[0.5] * 3, input_size=SIDE, taps=[], activation=activation, name="corner"
    )
    trainer: Any = SimpleNamespace(
        masker=masker.train(), classifier=classifier, fabric=SimpleNamespace(device=torch.device("cpu"))
    )
    verdict = MaskerVerdict(trainer, [(data, record) for record in data.records[:count]], "pictures")
    state: Any = SimpleNamespace(interrupted=stopped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdict.on_end(state)
    assert masker.training
    return verdict


def by_hand(data: DataSet, shown: Tensor) -> float:
    """Mean objective over the pictures that are judged, one by one, without anything of the package's."""
    values = []
    for k in range(MOST):
        picture = data.image(data.records[k * COUNT // MOST])
        mask = shown[None].float()
        scores = [Corner()((side - GREY) / 0.5 * 1.0) for side in _blended(picture[None], mask)]
        whole = int(Corner()((picture[None] - GREY) / 0.5).argmax())
        inside, outside = (score[0].double().softmax(0) for score in scores)
        values.append(float(-inside[whole].log() + (outside * outside.log()).sum()) / 2)
    return sum(values) / len(values)


def _blended(picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return picture * mask + GREY * (1 - mask), picture * (1 - mask) + GREY * mask


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_who_is_called_so(data: DataSet, activation: str) -> None:
    assert len(judged(Drawn(elsewhere), data, activation).told) == 1
    for good in (corner, faint, middle):
        assert not judged(Drawn(good), data, activation).told


def test_the_numbers_are_those_by_hand(data: DataSet) -> None:
    (said,) = judged(Drawn(elsewhere), data).told
    hidden = most_salient(elsewhere(torch.zeros(1, 3, SIDE, SIDE)), 100 / 3)[0]
    square = most_salient(middle_first((SIDE, SIDE))[None], 100 / 3)[0]
    assert f"on {MOST} pictures" in said
    assert f"an objective of {by_hand(data, hidden):.2f} nats" in said
    assert f"the square's {by_hand(data, square):.2f}" in said


@pytest.mark.parametrize(("errors", "certain"), [(1.5, False), (2.7, True)])
def test_what_may_be_chance_is_not_said(data: DataSet, errors: float, certain: bool) -> None:
    """As many pictures with a wrong mask as make the mean worse than the square's by so many standard errors."""
    one = torch.zeros(1, 3, SIDE, SIDE)
    right, wrong = (most_salient(masks(one), 100 / 3)[0] for masks in (corner, elsewhere))
    square = by_hand(data, most_salient(middle_first((SIDE, SIDE))[None], 100 / 3)[0])
    better, worse = by_hand(data, right) - square, by_hand(data, wrong) - square

    def away(bad: int) -> float:
        differences = np.array([worse] * bad + [better] * (MOST - bad))
        return abs(differences.mean() / (differences.std(ddof=1) / MOST**0.5) - errors)

    bad = min(range(1, MOST), key=away)
    assert away(bad) < 0.4
    seen = 0

    def mixed(images: Tensor) -> Tensor:
        nonlocal seen
        chosen = torch.arange(seen, seen + len(images))[:, None, None] < bad
        seen += len(images)
        return torch.where(chosen, elsewhere(images), corner(images))

    assert bool(judged(Drawn(mixed), data).told) is certain


def test_of_sigmoid_outputs_all_that_is_found_counts(tmp_path: Path) -> None:
    """Two findings of three in each picture: binary cross entropy of all, less the binary entropies of those two."""
    for k in range(COUNT):
        pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
        pixels[: SIDE // 2, : SIDE // 2] = 220
        pixels[: SIDE // 2, : SIDE // 2, k % 3] = 60
        Image.fromarray(pixels).save(tmp_path / f"{k:02}.png")
    (said,) = judged(Drawn(elsewhere), read_data(str(tmp_path)), "sigmoid").told
    # Nothing of the corner is in a part elsewhere: all of its three scores are 0, and hidden nothing has changed.
    score = 20 * (220 / 255 - GREY) / 0.5
    p = 1 / (1 + np.exp(-score))
    hidden = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert f"an objective of {(3 * np.log(2) - 2 * hidden) / 2:.2f} nats" in said


def test_of_few_pictures_and_of_an_interrupted_training_nothing_is_said(data: DataSet) -> None:
    assert judged(Drawn(elsewhere), data, count=8).told
    assert not judged(Drawn(elsewhere), data, count=7).told
    assert not judged(Drawn(elsewhere), data, stopped=15).told


def test_pictures_that_cannot_be_read_are_left_out(data: DataSet, tmp_path: Path) -> None:
    for k in range(0, COUNT, 4):
        (tmp_path / "pictures" / f"{k:02}.png").write_bytes(b"nothing")
    (said,) = judged(Drawn(elsewhere), data).told
    assert f"on {MOST - len({k * COUNT // MOST for k in range(MOST)} & set(range(0, COUNT, 4)))} pictures" in said


def test_pictures_are_spread_evenly_and_an_old_verdict_is_forgotten(data: DataSet) -> None:
    verdict = judged(Drawn(elsewhere), data)
    assert [data.records.index(record) for _, record in verdict.pictures] == [k * 40 // 32 for k in range(32)]
    verdict.trainer.masker = Drawn(corner)  # type: ignore[attr-defined]
    ended: Any = SimpleNamespace(interrupted=0)
    verdict.on_end(ended)
    assert verdict.told == []


def test_outputs_that_are_no_logits_are_left_alone(data: DataSet) -> None:
    assert not judged(Drawn(elsewhere), data, activation="none").told


def test_the_middle_has_the_shape_of_the_picture() -> None:
    shown = most_salient(middle_first((8, 16))[None], 25)[0]
    assert shown.nonzero().amin(0).tolist() == [2, 4] and shown.nonzero().amax(0).tolist() == [5, 11]
    assert int(shown.sum()) == 4 * 8


def test_it_is_asked_of_every_masker_in_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On pictures that are held out, where there are some; its line is on the page."""
    asked: list[tuple[int, str]] = []

    def judge(self: MaskerVerdict) -> None:
        asked.append((len(self.pictures), self.which))
        self.say("they tell less")

    monkeypatch.setattr(MaskerVerdict, "_judge", judge)
    recipe = Recipe(steps=2, batch_size=4, fraction=1.0, input_size=32, thinning="F")
    tiny = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    for name, more in (("a", {}), ("b", {"held_out": "shapes:n=9,size=40,seed=1"}), ("c", {"verdict": False})):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            train(recipe, "shapes:n=12,size=40,labels=own", classifier=tiny, out=tmp_path / name, device="cpu", **more)  # type: ignore[arg-type]
        expected = name != "c"
        assert any("they tell less" in str(one.message) for one in said) is expected
        assert ("they tell less" in (tmp_path / name / "index.html").read_text()) is expected
    assert asked == [(12, "of the pictures that it was trained on"), (9, "pictures that were held out")]


def test_a_black_box_is_not_asked_more_than_it_must_be() -> None:
    box = Classifier(lambda images: images.mean((2, 3)).softmax(1), input_size=SIDE)
    trainer: Any = SimpleNamespace(masker=Drawn(corner), classifier=box, recipe=Recipe())
    assert not any(
        isinstance(one, MaskerVerdict)
        for one in watchers(trainer, SIDE, {}, page=False, pictures=[(None, None)])  # type: ignore[list-item]
    )
