"""F1 of the continuous map: by hand, and pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.core.errors import InputError
from maskwise.measures import metric


def slow_f1(m: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """The released formula on whole pixels; the box's area counts outside the picture, too."""
    x0, y0, x1, y1 = box
    inside = sum(m[y, x] for y in range(m.shape[0]) for x in range(m.shape[1]) if y0 <= y < y1 and x0 <= x < x1)
    precision, recall = inside / (m.sum() + 1e-6), inside / ((x1 - x0) * (y1 - y0))
    return 100 * 2 * precision * recall / (precision + recall + 1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_f1_equals_the_formula_pixel_by_pixel(seed: int) -> None:
    draws = np.random.default_rng(seed)
    m = draws.random((1, 9, 11)) ** 2
    corners = np.sort(draws.integers(-3, 14, (3, 2, 2)), axis=1)
    corners[:, 1] += corners[:, 0] == corners[:, 1]
    boxes = [(int(b[0][0]), int(b[0][1]), int(b[1][0]), int(b[1][1])) for b in corners]
    values = [slow_f1(m[0], box) for box in boxes]
    truth = [torch.tensor(boxes)]
    assert float(metric("f1").per_image(m, boxes=truth)) == pytest.approx(max(values))
    assert float(metric("f1_mean").per_image(m, boxes=truth)) == pytest.approx(sum(values) / 3)


def test_f1_by_hand() -> None:
    """m is 1 on 4 columns of 8 x 8, the box covers 2 of them and 2 others: P = 16/32, R = 16/32, F1 = 1/2."""
    m = torch.zeros(1, 8, 8)
    m[0, :, :4] = 1
    half = torch.tensor([[2, 0, 6, 8]])
    exact = torch.tensor([[0, 0, 4, 8]])
    assert float(metric("f1").per_image(m, boxes=[half])) == pytest.approx(50, abs=1e-3)
    assert float(metric("f1").per_image(m, boxes=[torch.cat([half, exact])])) == pytest.approx(100, abs=1e-3)
    assert float(metric("f1_mean").per_image(m, boxes=[torch.cat([half, exact])])) == pytest.approx(75, abs=1e-3)
    assert metric("f1").per_image(m, boxes=[torch.zeros(0, 4)]).isnan()


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_constant_map_s_f1_is_derived_from_the_box_s_share(share: float) -> None:
    """m = v everywhere, box of share s: P = s, R = v, F1 = 2 s v / (s + v)."""
    v = 0.6
    box = torch.tensor([[0, 0, 8, 8 * share]]).double()
    expected = 100 * 2 * share * v / (share + v)
    assert float(metric("f1").per_image(torch.full((1, 8, 8), v), boxes=[box])) == pytest.approx(expected, abs=1e-3)


def test_fractions_of_pixels_count_in_part() -> None:
    """A box of 1.5 x 1 pixels on two pixels of 1: 1.5 inside of 2; P = .75, R = 1, F1 = 1.5/1.75. Truncated: .5, 1."""
    m = torch.zeros(1, 4, 4)
    m[0, 0, :2] = 1
    box = [torch.tensor([[0, 0, 1.5, 1]]).double()]
    assert float(metric("f1").per_image(m, boxes=box)) == pytest.approx(100 * 1.5 / 1.75, abs=1e-3)
    assert float(metric("f1", truth="truncated").per_image(m, boxes=box)) == pytest.approx(100 / 1.5, abs=1e-3)


def test_area_outside_the_picture_counts_unless_it_is_clipped() -> None:
    """Half of the box is cropped away: R = 1/2 and P = 1, F1 = 2/3; clipped, it is 1."""
    m = torch.zeros(1, 8, 8)
    m[0, :, :2] = 1
    box = [torch.tensor([[-2, 0, 2, 8]])]
    assert float(metric("f1").per_image(m, boxes=box)) == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert float(metric("f1", truth_area="clipped").per_image(m, boxes=box)) == pytest.approx(100, abs=1e-3)
    gone = [torch.tensor([[-5, 0, -1, 8]])]
    assert float(metric("f1", truth_area="clipped").per_image(m, boxes=gone)) == 0
    assert float(metric("f1").per_image(torch.zeros(1, 8, 8), boxes=box)) == 0


def test_maps_beyond_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[0,1\]"):
        metric("f1").per_image(torch.full((1, 4, 4), 1.5), boxes=[torch.zeros(1, 4)])
