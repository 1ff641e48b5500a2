"""A picture's row is its own: which others share its batch changes nothing, whatever truth they have or lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.data import DataSet, Record
from maskwise.data.difficult import DifficultCases
from maskwise.data.sample import Sample
from maskwise.evaluation import Contender, Settings, measure
from maskwise.evaluation.batch import Batch
from maskwise.evaluation.measured import Measured
from maskwise.measures import metric

SIZE = (20, 30)
ONE, TWO, TINY = [[2.0, 3, 12, 14]], [[1.0, 1, 5, 6], [10, 4, 25, 18]], [[4.1, 4.1, 4.3, 4.3]]
OBJECTS = torch.zeros(SIZE, dtype=torch.bool).index_put((torch.tensor([9]), torch.tensor([9])), torch.tensor(True))
# Of each picture what is known, and for which class a hit counts: -1 is the unknown one, None none.
KNOWN: list[tuple[dict[str, Any], int | None]] = [
    ({"boxes": ONE}, -1),
    ({"boxes": TWO, "label": 2}, 2),
    ({}, None),
    ({"label": 1}, None),
    ({"boxes": TINY}, -1),
    ({"boxes": TINY, "label": 3}, 3),
    ({"boxes": ONE, "box_classes": [1], "difficult": [True]}, None),  # TorchRay leaves such a class out
    ({"boxes": TWO, "box_classes": [1, 1]}, 1),
    ({"mask": OBJECTS}, -1),
    ({"mask": OBJECTS, "label": 4, "boxes": TWO}, 4),
    ({"mask": ~OBJECTS & OBJECTS, "label": 4}, None),
]
DRAWS = torch.Generator().manual_seed(0)
IMAGES = [torch.rand(3, *SIZE, generator=DRAWS) for _ in KNOWN]


@dataclass(frozen=True, eq=False)
class Given(DataSet):
    """Pictures with the truth that is written down above."""

    def sample(self, record: Record) -> Sample:
        place = int(record.id)
        known = dict(KNOWN[place][0])
        for name, kind in (("boxes", torch.float64), ("box_classes", torch.int64), ("difficult", torch.bool)):
            if name in known:
                known[name] = torch.tensor(known[name], dtype=kind)
        return Sample(record.id, IMAGES[place], **known)


DATA = Given("given", [Record(str(i), known.get("label")) for i, (known, _) in enumerate(KNOWN)], tuple("abcde"))
NAMES = ("pointing", "le", "om", "sm", "f1", "energy_pointing", "pxap", "mae", "max_box_acc", "relevance_mass", "area")


def brightness(images: Tensor, targets: Tensor) -> Tensor:
    return images.mean(1)


def measured(batch: int, resize: Any = "none", cases: DifficultCases | None = None) -> Measured:
    judge = Classifier(tiny_net(), input_size=16, name="tiny")
    wanted = {name: metric(name, judge) for name in NAMES}
    wanted["pointing"] = metric("pointing", tolerance=2.5, classes=5)
    wanted["pointing_difficult"] = metric("pointing_difficult", tolerance=2.5, classes=5)
    settings = Settings(resize, batch=batch, difficult=cases)
    return measure([Contender.of("brightness", brightness)], judge, [DATA], wanted, settings)


@pytest.mark.parametrize("resize", ["none", "squash", "crop"])
def test_rows_are_the_same_in_any_batch(resize: str) -> None:
    alone = measured(1, resize)
    for batch in (2, 5, 20):
        together = measured(batch, resize)
        assert together.pictures == alone.pictures
        for key, rows in alone.statistics.items():
            if key[2] not in ("seconds", "megabytes"):
                assert torch.allclose(together.statistics[key], rows, rtol=1e-5, atol=1e-5, equal_nan=True), key


def spot_hits(place: int) -> bool:
    """Is a pixel of the truth within the tolerance of the picture's brightest pixel?"""
    known, saliency = KNOWN[place][0], IMAGES[place].mean(0)
    row, column = divmod(int(saliency.argmax()), SIZE[1])
    if "mask" in known:
        inside = [tuple(pixel) for pixel in known["mask"].nonzero().tolist()]
    else:
        inside = [
            (y, x) for y in range(SIZE[0]) for x in range(SIZE[1]) for x0, y0, x1, y1 in known["boxes"]
            if (x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1) or (x == int(x0) and y == int(y0) and x1 - x0 < 1)
        ]  # fmt: skip
    return any((row - y) ** 2 + (column - x) ** 2 < 2.5**2 for y, x in inside)


@pytest.mark.parametrize("batch", [1, 4, 20])
def test_the_pointing_game_counts_each_picture_for_its_class_or_for_the_unknown_one(batch: int) -> None:
    rows = measured(batch).statistics["given", "brightness", "pointing"].unflatten(1, (2, 6))
    for place, (row, (_, counted)) in enumerate(zip(rows, KNOWN, strict=True)):
        if counted is None:
            assert row.isnan().all(), place
        else:
            assert row[1].nonzero()[:, 0].tolist() == [counted % 6], place
            assert row[0, counted] == spot_hits(place), place


def test_a_list_of_difficult_classes_says_nothing_of_the_unknown_one() -> None:
    """-1 is no class, and not the last one of the list of names either."""
    cases = DifficultCases("list", {str(i): frozenset({"e"}) for i in range(len(KNOWN))}, unlisted=False)
    rows = measured(4, cases=cases).statistics["given", "brightness", "pointing_difficult"]
    assert (~rows.isnan().any(1)).nonzero()[:, 0].tolist() == [9]


class Answers(nn.Module):
    """The same logits for every picture."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1) + 0 * images.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("logits", [[20.0, 30.0, 25.0], [-130.0, -120.0, -125.0]])
def test_the_predicted_class_is_that_of_the_largest_logit_where_sigmoids_are_full(logits: list[float]) -> None:
    """In float32 the sigmoids of 20 and of 30 are both 1, and those of -130 and -120 both 0."""
    judge = Classifier(Answers(logits), input_size=16, activation="sigmoid")
    batch = Batch.of([DATA[0]], judge, "squash", "predicted")
    assert batch.targets.tolist() == [1]


def test_the_same_pixels_as_other_truth_are_another_key() -> None:
    """A mask that turns into what is ignored, or a picture of the same bytes in another shape, has no old row."""
    image, pixels = torch.rand(3, *SIZE), torch.zeros(SIZE, dtype=torch.bool)
    samples = [
        Sample("a.png", image, mask=pixels),
        Sample("a.png", image, ignore=pixels),
        Sample("a.png", image),
        Sample("a.png", image.reshape(3, *SIZE[::-1]), mask=pixels.T),
    ]
    judge = Classifier(tiny_net(), input_size=16)
    keys = [Batch.of([sample], judge, "none", "predicted").keys[0] for sample in samples]
    assert len(set(keys)) == len(keys)
    assert Batch.of(samples[:1], judge, "none", "predicted").keys == keys[:1]
