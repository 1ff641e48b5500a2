"""Boxes against flood fill, the rank rule against its formula, IoU against filled pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwise.box import binarise, boxes, iou, largest_component, tight_boxes
from maskwise.core.errors import InputError

masks = arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))


def flood(mask: np.ndarray, connectivity: int) -> tuple[set[tuple[int, int]], list[int]]:
    """Largest component (first of equals) and its box, by walking from pixel to pixel."""
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    if connectivity == 8:
        steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    left = {(y, x) for y, x in np.argwhere(mask).tolist()}
    best: set[tuple[int, int]] = set()
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            for dy, dx in steps:
                near = (y + dy, x + dx)
                if near in left and near not in part:
                    part.add(near)
                    edge.append(near)
        left -= part
        if len(part) > len(best):
            best = part
    if not best:
        return best, [0, 0, 0, 0]
    ys, xs = [p[0] for p in best], [p[1] for p in best]
    return best, [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@given(masks, st.sampled_from([4, 8]))
@settings(max_examples=200, deadline=None)
def test_component_and_box_equal_flood_fill(mask: np.ndarray, connectivity: int) -> None:
    part, box = flood(mask, connectivity)
    kept = largest_component(mask[None], connectivity)  # type: ignore[arg-type]
    assert {(y, x) for y, x in np.argwhere(kept[0].numpy()).tolist()} == part
    assert tight_boxes(kept)[0].tolist() == box


def test_the_value_rule_keeps_what_reaches_the_mean() -> None:
    m = torch.tensor([[[0.0, 0.4], [0.6, 1.0]]])  # mean 0.5
    assert binarise(m)[0].tolist() == [[False, False], [True, True]]
    assert binarise(m, alpha=0.5)[0].tolist() == [[False, True], [True, True]]


def test_constant_maps() -> None:
    assert boxes(torch.zeros(1, 4, 6)).tolist() == [[0, 0, 0, 0]]
    assert boxes(torch.full((1, 4, 6), 0.3)).tolist() == [[0, 0, 6, 4]]


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_the_rank_rule_keeps_the_map_s_own_area(seed: int) -> None:
    m = np.random.default_rng(seed).random((1, 9, 11)) ** 3
    n, mean = m.size, m.mean()
    k = 1 + math.floor((n - 1) * (1 - mean) + 0.5)
    expected = m[0] > np.sort(m.ravel())[k - 1]
    assert (binarise(m, rule="rank")[0].numpy() == expected).all()
    assert abs(int(expected.sum()) - n * mean) <= 1.5


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_iou_counts_pixels(pair: list[tuple[int, int, int, int]]) -> None:
    filled = []
    for x0, y0, x1, y1 in pair:
        grid = np.zeros((10, 10), bool)
        grid[y0:y1, x0:x1] = True
        filled.append(grid)
    union = (filled[0] | filled[1]).sum()
    expected = (filled[0] & filled[1]).sum() / union if union else 0.0
    a, b = (torch.tensor([p]) for p in pair)
    assert iou(a, b).item() == pytest.approx(expected)


def test_nan_and_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        boxes(torch.full((1, 3, 3), torch.nan))
    with pytest.raises(InputError, match="N,H,W"):
        boxes(torch.zeros(3, 3))
    with pytest.raises(InputError, match="rule"):
        binarise(torch.zeros(1, 3, 3), rule="median")  # type: ignore[arg-type]


def test_iou_worked_by_hand() -> None:
    a = torch.tensor([[0, 0, 4, 2], [0, 0, 0, 0]])  # areas 8 and 0
    b = torch.tensor([[2, 0, 6, 2], [0, 0, 4, 2], [4, 0, 8, 2]])  # shares 4 of 12, all, only an edge
    assert iou(a, b).tolist() == [[4 / 12, 1, 0], [0, 0, 0]]
    assert iou(a.numpy(), b.numpy()).dtype == torch.float64
    assert iou(a[:0], b).shape == (0, 3)


def test_the_last_row_and_column_count() -> None:
    m = torch.zeros(1, 5, 6)
    m[0, 3:, 4:] = 1
    assert boxes(m).tolist() == [[4, 3, 6, 5]]


@pytest.mark.parametrize("rule", ["value", "rank"])
def test_what_speaks_against_the_object_is_no_part_of_the_mean(rule: str) -> None:
    """An object of 0.9 in a faint rim of 0.05, all around it -0.6: a mean below 0 would keep the rim, too."""
    maps = torch.full((1, 40, 60), -0.6)
    maps[0, 6:34, 10:50] = 0.05
    maps[0, 10:30, 15:45] = 0.9
    assert torch.equal(binarise(maps, rule), binarise(maps.clamp(min=0), rule))  # type: ignore[arg-type]
    assert boxes(maps).tolist() == [[15, 10, 45, 30]]


def test_of_equal_parts_the_first_in_reading_order_stays() -> None:
    mask = torch.tensor([[[0, 0, 1], [1, 0, 0], [0, 0, 0]]]).bool()
    assert tight_boxes(largest_component(mask)).tolist() == [[2, 0, 3, 1]]


def test_the_value_rule_does_not_depend_on_the_scale() -> None:
    m = torch.eye(3)[None].double() + 0.01
    for scale in (1, 1e-6, 1e-12):
        assert torch.equal(binarise(m * scale)[0], torch.eye(3).bool())


@pytest.mark.parametrize("rule", ["value", "rank"])
def test_views_batches_of_none_and_other_types(rule: str) -> None:
    m = np.random.default_rng(0).random((2, 5, 6)).astype(np.float32)
    flipped = boxes(m[:, ::-1], rule=rule)  # type: ignore[arg-type]
    assert torch.equal(flipped, boxes(torch.from_numpy(m).flip(1), rule=rule))  # type: ignore[arg-type]
    assert boxes(m[:0], rule=rule).shape == (0, 4)  # type: ignore[arg-type]
    assert torch.equal(boxes(m[:1], rule=rule), boxes(m, rule=rule)[:1])  # type: ignore[arg-type]
    assert torch.equal(boxes(m > 0.5), boxes((m > 0.5).astype(np.float32)))
    with pytest.raises(InputError, match="one pixel"):
        boxes(m[:, :0], rule=rule)  # type: ignore[arg-type]
