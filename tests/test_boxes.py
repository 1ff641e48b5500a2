"""Boxes against flood fill, the rank rule against its formula, IoU against filled pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwise.boxes import binarise, boxes, iou, largest_component, tight_boxes
from maskwise.errors import InputError

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
