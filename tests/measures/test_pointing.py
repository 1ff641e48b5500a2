"""The pointing game by hand, and with distances taken pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.pointing import box_regions, pointing_hits

SIDE = 40


def dot(y: int, x: int) -> Tensor:
    m = torch.zeros(SIDE, SIDE)
    m[y, x] = 1
    return m


@given(st.integers(0, 10_000), st.sampled_from([None, 1.0, 2.5, 5.0]))
@settings(max_examples=60, deadline=None)
def test_hits_equal_distances_pixel_by_pixel(seed: int, tolerance: float | None) -> None:
    draws = np.random.default_rng(seed)
    maps = draws.integers(0, 6, (4, 9, 8)) / 5  # few values: the brightest is rarely alone
    regions = draws.random((4, 9, 8)) < 0.04
    expected = []
    for m, region in zip(maps, regions, strict=True):
        y, x = next((y, x) for y in range(9) for x in range(8) if m[y, x] == m.max())
        distances = [math.dist((y, x), pixel) for pixel in np.argwhere(region)]
        expected.append(any(d < tolerance if tolerance else d == 0 for d in distances))
    assert pointing_hits(maps, regions, tolerance).tolist() == expected


def test_fifteen_pixels_away_is_too_far() -> None:
    """The object's nearest pixel is column 20: from column 5 it is 15 away, from column 6 14."""
    regions = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    regions[:, :, 20:30] = True
    maps = torch.stack([dot(3, 5), dot(3, 6), dot(3, 25)])
    assert pointing_hits(maps, regions).tolist() == [False, True, True]
    assert pointing_hits(maps, regions, None).tolist() == [False, False, True]


def test_the_mean_is_over_classes() -> None:
    """Class 0: 1 of 3 hit, class 1: 1 of 1; mean 2/3, and not 2/4."""
    region = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    region[:4, :4] = True
    maps = torch.stack([dot(0, 0), dot(39, 39), dot(39, 39), dot(2, 2)])
    game = metric("pointing", classes=3)
    game.update(maps, regions=[{0: region}, {0: region}, {0: region}, {1: region}], targets=torch.tensor([0, 0, 0, 1]))
    assert float(game.compute()) == pytest.approx(100 * (1 / 3 + 1) / 2)


def test_a_map_answers_for_the_class_that_was_explained() -> None:
    left, right = (torch.zeros(SIDE, SIDE, dtype=torch.bool) for _ in range(2))
    left[:, :5], right[:, 35:] = True, True
    both = {0: left, 2: right}
    maps, game = torch.stack([dot(0, 0)] * 3), metric("pointing", classes=3)
    rows = game.per_image(maps, regions=[both] * 3, targets=torch.tensor([0, 2, 1])).unflatten(1, (2, 4))
    assert rows[0, 0].tolist() == [1, 0, 0, 0] and rows[0, 1].tolist() == [1, 0, 0, 0]
    assert rows[1, 0].tolist() == [0, 0, 0, 0] and rows[1, 1].tolist() == [0, 0, 1, 0]
    assert rows[2].isnan().all(), "class 1 is not in the picture"
    assert game.per_image(maps, regions=[both] * 3).isnan().all(), "two classes, and nobody says which"
    only = game.per_image(maps, regions=[{2: left}] * 3, targets=torch.tensor([0, 1, 2])).unflatten(1, (2, 4))
    assert only[:, 0, 2].all(), "a picture's single class is what is meant"


def test_boxes_are_their_union_and_classes_the_labels() -> None:
    boxes = [torch.tensor([[0.0, 0, 2, 2], [30, 30, 40, 40]]), torch.tensor([[0.0, 0, 2, 2]]), torch.zeros(0, 4)]
    maps = torch.stack([dot(35, 35), dot(35, 35), dot(0, 0)])
    game = metric("pointing", classes=4)
    rows = game.per_image(maps, boxes=boxes, labels=torch.tensor([3, 3, 3]))
    assert rows[:2].unflatten(1, (2, 5))[:, :, 3].tolist() == [[1, 1], [0, 1]] and rows[2].isnan().all()
    unknown = game.per_image(maps, boxes=boxes).unflatten(1, (2, 5))
    assert unknown[:2, :, -1].tolist() == [[1, 1], [0, 1]], "pictures of unknown class are one more class"
    assert game.per_image(maps).isnan().all(), "no truth at all"


def test_a_box_has_the_pixels_whose_centres_it_holds() -> None:
    """0.4 to 2.6 holds the centres .5, 1.5 and 2.5; 0.6 to 2.4 only 1.5."""
    wide, narrow = box_regions(
        [torch.tensor([[0.4, 0.4, 2.6, 2.6]]), torch.tensor([[0.6, 0.6, 2.4, 2.4]])], torch.tensor([0, 0]), (5, 5)
    )
    assert wide[0].nonzero().tolist() == [[y, x] for y in range(3) for x in range(3)]
    assert narrow[0].nonzero().tolist() == [[1, 1]]
    outside = box_regions([torch.tensor([[-3.0, -3, 2, 9]])], torch.tensor([0]), (5, 5))[0][0]
    assert outside.sum() == 10


def test_difficult_by_rule_or_by_list() -> None:
    small, large = (torch.zeros(SIDE, SIDE, dtype=torch.bool) for _ in range(2))
    small[:20, :19], large[:20, :20] = True, True  # 380 and 400 of 1600 pixels: a quarter is not less than a quarter
    regions = [{0: small, 1: large}, {0: small, 1: large}, {0: small}, {0: small, 1: torch.zeros_like(small)}]
    targets = torch.tensor([0, 1, 0, 0])
    maps = torch.stack([dot(0, 0)] * 4)
    game = metric("pointing_difficult", classes=2)
    rows = game.per_image(maps, regions=regions, targets=targets)
    assert (~rows.isnan().any(1)).tolist() == [True, False, False, False], "too large; alone; the other has no pixel"
    listed = game.per_image(maps, regions=regions, targets=targets, difficult=[set(), {1}, {0}, {1}])
    assert (~listed.isnan().any(1)).tolist() == [False, True, True, False]
    everything = metric("pointing", classes=2).per_image(maps, regions=regions, targets=targets)
    assert not everything.isnan().any()
    assert metric("pointing", classes=2, subset="difficult").protocol() == game.protocol()


def test_a_resample_without_a_class_is_the_mean_over_those_it_has() -> None:
    game = metric("pointing", classes=3)
    rows = torch.zeros(3, 2, 4, dtype=torch.float64)  # hits and tries of classes 0, 1, 2 and the unknown one
    for place, (kind, hit) in enumerate([(0, 1), (1, 0), (-1, 1)]):
        rows[place, 0, kind], rows[place, 1, kind] = hit, 1
    weights = torch.tensor([[1.0, 1, 1], [2, 1, 0], [1, 0, 0], [0, 3, 0], [0, 1, 2]], dtype=torch.float64)
    values = game.value(weights @ rows.flatten(1), weights.sum(1))
    assert values.tolist() == pytest.approx([200 / 3, 50, 100, 0, 50])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 100)])
def test_the_whole_picture_is_always_hit_and_nothing_never(share: float, expected: float) -> None:
    game = metric("pointing", classes=1)
    regions = [{0: torch.full((SIDE, SIDE), share > 0)}] * 5
    game.update(torch.rand(5, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), regions=regions)
    assert float(game.compute()) == expected


def test_a_class_beyond_the_count_is_refused() -> None:
    with pytest.raises(InputError, match="counts 2 classes, and one is 2"):
        metric("pointing", classes=2).per_image(torch.rand(1, 4, 4), regions=[{2: torch.ones(4, 4).bool()}])


def test_a_box_smaller_than_a_pixel_is_the_pixel_it_lies_in() -> None:
    """Between the centres 5.5 and 6.5 there is none; a box over the border has what is inside of it."""
    boxes = (
        torch.tensor([[5.6, 2.0, 6.4, 4.0]]),
        torch.tensor([[-3.0, -3.0, 2.0, 1.0]]),
        torch.tensor([[7.1, 3.6, 7.3, 3.7]]),
    )
    regions = box_regions(boxes, torch.zeros(3), (8, 8))
    assert [region[0].nonzero().tolist() for region in regions] == [[[2, 6], [3, 6]], [[0, 0], [0, 1]], [[3, 7]]]
