"""MaxBoxAcc against the steps of wsolevaluation written out, and by hand."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.measures import metric

SIDE = 24


def slow_boxes(scores: np.ndarray, threshold: float, every: bool) -> list[list[int]]:
    """Inclusive corners (x0,y0,x1,y1), as the released evaluation takes them."""
    grey = (scores * 255).astype(np.uint8)
    _, binary = cv2.threshold(grey, int(threshold * grey.max()), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [[0, 0, 0, 0]]
    boxes = []
    for contour in contours if every else [max(contours, key=cv2.contourArea)]:
        xs, ys = contour[:, 0, 0], contour[:, 0, 1]
        boxes.append([xs.min(), ys.min(), min(xs.max() + 1, SIDE - 1), min(ys.max() + 1, SIDE - 1)])
    return boxes


def slow_iou(a: list[int], b: list[int]) -> float:
    across, down = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1) for i in (0, 1))
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return across * down / (sum(areas) - across * down)


def slow_accuracy(maps: np.ndarray, truth: list[list[list[float]]], overlaps: list[float], every: bool) -> float:
    best = []
    for overlap in overlaps:
        right = []
        for step in range(20):
            hits = 0
            for m, own in zip(maps, truth, strict=True):
                found = slow_boxes(m, step / 20, every)
                cut = [[int(edge) for edge in box] for box in own]
                hits += max(slow_iou(a, b) for a in found for b in cut) >= overlap
            right.append(hits)
        best.append(100 * max(right) / len(maps))
    return sum(best) / len(best)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_both_versions_equal_the_released_steps(seed: int) -> None:
    draws = np.random.default_rng(seed)
    coarse = draws.random((6, 5, 5)).astype(np.float32)
    maps = np.stack([cv2.resize(m, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for m in coarse]).clip(0, 1)
    maps = maps.astype(np.float64)
    truth = []
    for i in range(6):
        corners = np.sort(draws.random((1 + i % 2, 2, 2)) * SIDE, axis=1)
        truth.append([[*c[0], *c[1]] for c in corners])
    boxes = [torch.tensor(own, dtype=torch.float64) for own in truth]
    for name, overlaps, every in (("max_box_acc", [0.5], False), ("max_box_acc_v2", [0.3, 0.5, 0.7], True)):
        accuracy = metric(name, steps=20)
        accuracy.update(torch.from_numpy(maps), boxes=boxes)
        assert float(accuracy.compute()) == pytest.approx(slow_accuracy(maps, truth, overlaps, every))


def two_levels() -> torch.Tensor:
    """A square of 8x8 at 1 in a square of 16x16 at .5."""
    m = torch.zeros(SIDE, SIDE)
    m[4:20, 4:20] = 0.5
    m[8:16, 8:16] = 1
    return m


def test_a_pixel_at_the_threshold_is_not_kept() -> None:
    """Half of the largest value, 255, is cut to 127: so bright is the ground, and brighter the object alone."""
    maps = torch.full((1, 32, 32), 127.5 / 255)
    maps[0, 4:12, 6:20] = 1
    found = metric("max_box_acc", steps=2, convention="half_open").per_image(
        maps, boxes=[torch.tensor([[6, 4, 20, 12]])]
    )
    assert found.tolist() == [[0, 1]]


def test_one_threshold_serves_the_whole_set() -> None:
    """Below .5 the large square is found, from .5 on the small one: each truth has its half, the set only one."""
    maps = torch.stack([two_levels()] * 3)
    large, small = torch.tensor([[4, 4, 20, 20]]), torch.tensor([[8, 8, 16, 16]])
    accuracy = metric("max_box_acc", steps=10, convention="half_open")
    rows = accuracy.per_image(maps, boxes=[large, small, small])
    assert rows.tolist() == [[1] * 5 + [0] * 5, [0] * 5 + [1] * 5, [0] * 5 + [1] * 5]
    # .5 of 255 is 127.5, cut to 127; 0.5 as 8 bits is 127, and 127 > 127 is false: threshold .5 finds the small one.
    accuracy.update(maps, boxes=[large, small, small])
    assert float(accuracy.compute()) == pytest.approx(200 / 3)


def test_half_open_boxes_find_themselves_and_the_released_ones_nearly() -> None:
    """Truth 8..16 is there 8..16 inclusive, 9 pixels, as is the prediction: both conventions give IoU 1 here."""
    m, truth = two_levels()[None], [torch.tensor([[8, 8, 16, 16]])]
    for convention in ("half_open", "released"):
        v2 = metric("max_box_acc_v2", convention=convention)
        v2.update(m, boxes=truth)
        assert float(v2.compute()) == 100
    # At the border the released box loses its last row and column: 8x8 in the corner becomes 16..23 of 16..24.
    m = torch.zeros(1, SIDE, SIDE)
    m[0, 16:, 16:] = 1
    released = metric("max_box_acc")
    # Truth 8x16 half open: 64/128 = .5 is a success by >=; released: 8x8 of 9x17, 64/153.
    truth = [torch.tensor([[16, 8, 24, 24]])]
    assert released.per_image(m, boxes=truth).sum() == 0
    assert metric("max_box_acc", convention="half_open").per_image(m, boxes=truth).all()


def test_v2_looks_at_all_contours() -> None:
    """Two blobs; only the smaller one is the object."""
    m = torch.zeros(1, SIDE, SIDE)
    m[0, 2:14, 2:14] = 1
    m[0, 16:22, 16:22] = 1
    truth = [torch.tensor([[16, 16, 22, 22]])]
    values = []
    for name in ("max_box_acc", "max_box_acc_v2"):
        accuracy = metric(name)
        accuracy.update(m, boxes=truth)
        values.append(float(accuracy.compute()))
    assert values == [0, 100]


def test_an_empty_map_and_a_picture_without_boxes() -> None:
    truth = [torch.tensor([[0, 0, 24, 24]]), torch.zeros(0, 4)]
    rows = metric("max_box_acc").per_image(torch.zeros(2, SIDE, SIDE), boxes=truth)
    assert rows[0].sum() == 0 and rows[1].isnan().all()
    whole = metric("max_box_acc").per_image(torch.ones(1, SIDE, SIDE), boxes=truth[:1])
    assert whole.all()
