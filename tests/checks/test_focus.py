"""Focus of explainers whose share is known, and mosaics that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maskwise.checks import focus
from maskwise.checks.focus import focus_of, mosaics_of
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

SIDE = 20
DRAWS = torch.Generator().manual_seed(6)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 0, 2, 1, 0, 0])
IMAGES = torch.zeros(10, 3, SIDE, SIDE)
IMAGES[torch.arange(10), CLASSES] = torch.linspace(0.5, 1, 10)[
    :, None, None
]  # one channel a class, one value a picture


class Brightest(nn.Module):
    """The class is the brightest channel."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3)[..., None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.same(images).mean((2, 3))


CLASSIFIER = Classifier(Brightest(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, taps=["same"], name="brightest")


def evidence(images: Tensor, targets: Tensor | None = None) -> Tensor:
    assert targets is not None
    return (images[torch.arange(len(images)), targets] > 0.25).float()


def against(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return 1 - evidence(images, targets)


def uniform(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return torch.ones(len(images), *images.shape[-2:])


def zeros(images: Tensor, targets: Tensor | None = None) -> Tensor:
    return torch.zeros(len(images), *images.shape[-2:])


def test_evidence_has_1_its_opposite_0_and_a_uniform_map_a_half() -> None:
    methods = {"evidence": evidence, "against": against, "uniform": uniform, "zeros": zeros}
    seen: list[tuple[int, int]] = []
    result = focus(methods, CLASSIFIER, IMAGES, batch=3, progress=lambda *at: seen.append(at))
    for name, expected in (("evidence", 1), ("against", 0), ("uniform", 0.5)):
        assert result.values[name, "focus"].tolist() == [expected] * 4, "two pairs of class 0, one of 1 and of 2"
    rows = {row.method: row.value for row in result.rows}
    assert rows["zeros"].undefined == 4 and rows["uniform"].mean == 0.5
    assert result.protocol["mosaics"] == 4 and "top class" in result.protocol["target"] and seen[-1] == (16, 16)
    whole = focus(methods, CLASSIFIER, (IMAGES * 255).round().to(torch.uint8), batch=32)
    assert torch.equal(whole.values["evidence", "focus"], result.values["evidence", "focus"])


def test_a_mosaic_holds_two_pictures_of_its_class_and_two_of_others_where_it_says() -> None:
    made = mosaics_of(CLASSES, 3)
    for pictures, own, category in zip(made.pictures, made.own, made.classes, strict=True):
        assert (CLASSES[pictures[own]] == category).all() and int(own.sum()) == 2
        assert (CLASSES[pictures[~own]] != category).all() and len(set(pictures.tolist())) == 4
    used = made.pictures[made.own].tolist()
    assert len(used) == len(set(used))
    drawn = made.drawn(IMAGES, torch.arange(len(made.classes)))
    for mosaic, pictures in zip(drawn, made.pictures.tolist(), strict=True):
        corners = mosaic[:, :10, :10], mosaic[:, :10, 10:], mosaic[:, 10:, :10], mosaic[:, 10:, 10:]
        for cell, picture in zip(corners, pictures, strict=True):
            assert torch.allclose(cell, IMAGES[picture, :, :10, :10]), "plain pictures stay plain"
    odd = made.drawn(torch.rand(10, 3, 21, 23, generator=DRAWS), torch.arange(2))
    assert odd.shape == (2, 3, 21, 23)
    places = torch.cat([mosaics_of(CLASSES, seed).own for seed in range(200)]).double().mean(0)
    assert places.tolist() == pytest.approx([0.5] * 4, abs=0.06), "no cell is favoured"


def test_the_share_is_by_cells_row_by_row() -> None:
    maps = torch.zeros(4, 6, 8)
    for k, (row, column) in enumerate(((0, 0), (0, 5), (4, 1), (5, 7))):
        maps[k, row, column] = 3
        maps[k, 2, 3] += 1  # in the first cell
        maps[k, 1, 1] -= 5  # what is below 0 does not count
    assert focus_of(maps, torch.eye(4) > 0).tolist() == pytest.approx([1, 0.75, 0.75, 0.75])
    assert focus_of(maps, torch.eye(4) < 1).tolist() == pytest.approx([0, 0.25, 0.25, 0.25])


def test_what_makes_no_sense_is_refused() -> None:
    for classes in ([0, 1, 2], [0, 0, 0, 1], [0]):
        with pytest.raises(InputError, match="focus needs two pictures of one class and two of others"):
            mosaics_of(torch.tensor(classes))
    with pytest.raises(InputError, match="needs a method and a picture"):
        focus({}, CLASSIFIER, IMAGES)


def test_which_pictures_meet_is_drawn() -> None:
    """The five pictures of class 0 make two pairs, and with another seed others."""
    pairs = set()
    for seed in range(60):
        made = mosaics_of(CLASSES, seed)
        of_class = made.classes == 0
        for pictures, own in zip(made.pictures[of_class], made.own[of_class], strict=True):
            pairs.add(frozenset(pictures[own].tolist()))
    assert len(pairs) == 10, "all pairs of five"


def test_focus_equals_mosaics_laid_by_hand() -> None:
    """Any pictures, with Pillow's squashing, and the share pixel by pixel; the pictures are not square."""
    height, width = 20, 14
    draws = torch.Generator().manual_seed(8)
    images = torch.rand(9, 3, height, width, generator=draws)
    images[torch.arange(9), torch.arange(9) % 3] += 0.5
    images = (images / 1.5).clamp(0, 1)
    net = Classifier(Brightest(), mean=(0, 0, 0), std=(1, 1, 1), input_size=(height, width), taps=["same"])

    def channel(pictures: Tensor, targets: Tensor | None = None) -> Tensor:
        assert targets is not None
        return pictures[torch.arange(len(pictures)), targets] - 0.4

    found = focus({"channel": channel}, net, images, seed=2, batch=2).values["channel", "focus"].tolist()
    made = mosaics_of(images.mean((2, 3)).argmax(1), 2)
    assert len(found) == len(made.classes) == 3
    half = (width // 2, height // 2)
    for share, pictures, own, category in zip(found, made.pictures, made.own, made.classes, strict=True):
        inside = whole = 0.0
        for picture, is_own in zip(pictures.tolist(), own.tolist(), strict=True):
            plane = Image.fromarray(images[picture, int(category)].numpy(), mode="F").resize(
                half, Image.Resampling.BILINEAR
            )
            for value in np.asarray(plane).flatten().tolist():
                whole += max(value - 0.4, 0)
                inside += max(value - 0.4, 0) * is_own
        assert share == pytest.approx(inside / whole, abs=1e-5)


@pytest.mark.parametrize("size", [(20, 20), (21, 21), (7, 12), (299, 5)])
def test_a_map_that_knows_nothing_has_a_half_at_any_size(size: tuple[int, int]) -> None:
    """The middle of an odd side went to the second cell alone: a uniform map of 21 pixels had 0.45 to 0.55."""
    pairs = torch.tensor([[i in pair for i in range(4)] for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))])
    assert focus_of(torch.ones(6, *size), pairs).tolist() == pytest.approx([0.5] * 6, abs=1e-12)
