"""LE and OM worked by hand, against pixels counted one by one, and on maps whose value can be derived."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.measures import best_iou, localisation_error, metric
from maskwise.measures.truth import truth_of

SIDE = 12


def filled(box: tuple[int, int, int, int], side: int = SIDE) -> Tensor:
    x0, y0, x1, y1 = box
    m = torch.zeros(side, side)
    m[y0:y1, x0:x1] = 1
    return m


def slow_le(maps: np.ndarray, truth: list[list[tuple[int, int, int, int]]]) -> float:
    """Pixels >= mean, components by walking, IoU by counting pixels; whole boxes within the picture."""
    wrong = []
    for m, boxes in zip(maps, truth, strict=True):
        left = {(y, x) for y, x in np.argwhere((m >= m.mean()) & (m > 0)).tolist()}
        best: set[tuple[int, int]] = set()
        while left:
            part, edge = set(), [min(left)]
            while edge:
                y, x = edge.pop()
                if (y, x) in left:
                    left.remove((y, x))
                    part.add((y, x))
                    edge += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            best = part if len(part) > len(best) else best
        ys, xs = [p[0] for p in best], [p[1] for p in best]
        box = {(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)}
        ious = []
        for x0, y0, x1, y1 in boxes:
            own = {(y, x) for y in range(y0, y1) for x in range(x0, x1)}
            ious.append(len(box & own) / len(box | own))
        wrong.append(max(ious) <= 0.5)
    return 100 * sum(wrong) / len(wrong)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_le_equals_counted_pixels(seed: int) -> None:
    draws = np.random.default_rng(seed)
    maps = draws.random((5, 3, 3)).repeat(4, 1).repeat(4, 2) + 0.3 * draws.random((5, SIDE, SIDE))
    corners = np.sort(draws.integers(0, SIDE + 1, (5, 2, 2, 2)), axis=2)
    corners[:, :, 1] += corners[:, :, 0] == corners[:, :, 1]
    truth = [[(int(b[0][0]), int(b[0][1]), int(b[1][0]), int(b[1][1])) for b in own] for own in corners]
    le = metric("le")
    le.update(torch.from_numpy(maps), boxes=[torch.tensor(own) for own in truth])
    assert float(le.compute()) == slow_le(maps, truth)


def test_le_by_hand() -> None:
    """Predicted 4x4 = 16 pixels. Truth 4x8 holds it: IoU 16/32 = 0.5, which is not above 0.5; 4x7: 16/28 is."""
    maps = torch.stack([filled((2, 2, 6, 6))] * 3)
    truth = [torch.tensor([[2, 2, 6, 10]]), torch.tensor([[0, 0, 1, 1], [2, 2, 6, 9]]), torch.zeros(0, 4)]
    rows = metric("le").per_image(maps, boxes=truth)
    assert rows[:2].tolist() == [[100], [0]] and rows[2].isnan()
    predicted = torch.tensor([[2, 2, 6, 6]] * 3)
    assert best_iou(predicted, truth)[:2].tolist() == [0.5, 16 / 28]
    assert localisation_error(predicted, truth) == 50
    assert localisation_error(predicted, truth, threshold=0.49) == 0


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 12, 8), 0), ((0, 0, 12, 6), 100), ((3, 3, 9, 9), 100), ((1, 1, 11, 11), 0)],
    # The whole picture is predicted: IoU is the truth's share 96/144 = .67, 72/144 = .5, 36/144 = .25, 100/144 = .69
)
def test_a_constant_map_scores_large_objects(box: tuple[int, int, int, int], expected: float) -> None:
    assert metric("le").per_image(torch.full((1, SIDE, SIDE), 0.4), boxes=[torch.tensor([box])]) == expected


def test_ground_truth_finds_itself_and_an_empty_map_finds_nothing() -> None:
    box = (3, 2, 7, 11)
    maps = torch.stack([filled(box), torch.zeros(SIDE, SIDE)])
    assert metric("le").per_image(maps, boxes=[torch.tensor([box])] * 2).flatten().tolist() == [0, 100]


@given(st.integers(0, 10_000), st.sampled_from([1e-6, 0.25, 1.0]))
@settings(max_examples=30, deadline=None)
def test_le_knows_neither_scale_nor_side(seed: int, scale: float) -> None:
    draws = torch.Generator().manual_seed(seed)
    maps = torch.rand(4, SIDE, SIDE, generator=draws).double() ** 4
    boxes = [torch.tensor([[1.0, 2, 8, 9], [4, 0, 12, 5]]).double()] * 4
    mirrored = [torch.stack([SIDE - b[:, 2], b[:, 1], SIDE - b[:, 0], b[:, 3]], 1) for b in boxes]
    expected = metric("le", component=False).per_image(maps, boxes=boxes)
    assert torch.equal(metric("le", component=False).per_image(maps * scale, boxes=boxes), expected)
    assert torch.equal(metric("le", component=False).per_image(maps.flip(2), boxes=mirrored), expected)


def test_each_option_changes_what_it_says() -> None:
    lone = filled((2, 2, 6, 6))
    lone[11, 11] = 1
    truth = [torch.tensor([[2, 2, 6, 6]])]
    assert metric("le").per_image(lone[None], boxes=truth) == 0
    assert metric("le", component=False).per_image(lone[None], boxes=truth) == 100, "box to the corner: 16/100"

    touching = filled((0, 0, 6, 6)) + filled((6, 6, 12, 12))  # two squares that share a corner
    whole = [torch.tensor([[0, 0, 12, 12]])]
    assert metric("le").per_image(touching[None], boxes=whole) == 100, "one of them: 36/144"
    assert metric("le", connectivity=8).per_image(touching[None], boxes=whole) == 0

    # 4x4 without the last row and column is 3x3: 9/16 with itself, 9/20 with a truth of 4x5.
    box = metric("le", box="exclusive")
    assert box.predicted(filled((2, 2, 6, 6))[None]).tolist() == [[2, 2, 5, 5]]
    assert box.per_image(filled((2, 2, 6, 6))[None], boxes=truth) == 0
    assert box.per_image(filled((2, 2, 6, 6))[None], boxes=[torch.tensor([[2, 2, 6, 7]])]) == 100
    assert box.predicted(torch.zeros(1, 4, 4)).tolist() == [[0, 0, 0, 0]]
    line = filled((2, 2, 3, 6))
    assert box.per_image(line[None], boxes=[torch.tensor([[2, 2, 3, 6]])]) == 100, "one pixel wide: no area is left"

    halves = torch.full((1, SIDE, SIDE), 0.2)  # mean .4: value keeps the 6x6 at 1, rank 40% = 58 of 144 pixels
    halves[0, :6, :6] = 1
    assert metric("le").predicted(halves).tolist() == [[0, 0, 6, 6]]
    assert metric("le", alpha=0.4).predicted(halves).tolist() == [[0, 0, 12, 12]]
    assert metric("le", threshold=0.3).per_image(halves, boxes=[torch.tensor([[0, 0, 6, 18]])]) == 0, "36/108 > .3"


def test_the_rank_rule_keeps_the_map_s_area() -> None:
    """Values (i+1)/100 of a 10x10 ramp have mean .505: rank keeps the 50 brightest, rows 5 to 9; value, too."""
    ramp = ((torch.arange(100) + 1) / 100).reshape(1, 10, 10).double()
    assert metric("le", rule="rank").predicted(ramp).tolist() == [[0, 5, 10, 10]]
    squared = ramp**3  # mean .255: rank keeps 26 pixels (rows 7.4 on), value those above .634: 64 and up
    assert metric("le", rule="rank").predicted(squared).tolist() == [[0, 7, 10, 10]]
    assert metric("le").predicted(squared).tolist() == [[0, 6, 10, 10]]


def test_truth_may_be_truncated_and_clipped() -> None:
    maps = filled((0, 0, 4, 4))[None]
    # Exact: 16 / (4.9 * 6.9 = 33.81) = .47. Truncated to 4 x 6: 16/24 = .67.
    fractions = [torch.tensor([[0.0, 0.0, 4.9, 6.9]]).double()]
    assert metric("le").per_image(maps, boxes=fractions) == 100
    assert metric("le", truth="truncated").per_image(maps, boxes=fractions) == 0
    # Cropped away on the left: the whole box has 4 x 9 = 36 pixels, 16/36 = .44; what is left of it is the 4 x 4.
    beyond = [torch.tensor([[-5, 0, 4, 4]])]
    assert metric("le").per_image(maps, boxes=beyond) == 100
    assert metric("le", truth_area="clipped").per_image(maps, boxes=beyond) == 0
    assert truth_of([torch.tensor([[-2.7, -0.2, 3.7, 4.2]])], 1, edges="truncated").boxes.tolist() == [[-2, 0, 3, 4]]


def test_om_by_hand() -> None:
    """Box right or wrong x class first, fourth or sixth of six."""
    maps = torch.stack([filled((2, 2, 6, 6))] * 6)
    right, wrong = torch.tensor([[2, 2, 6, 6]]), torch.tensor([[8, 8, 12, 12]])
    probabilities = torch.tensor([[0.3, 0.25, 0.2, 0.12, 0.08, 0.05]] * 6)
    truth = {
        "boxes": [right, right, right, wrong, right, torch.zeros(0, 4)],
        "labels": torch.tensor([0, 3, 5, 0, -1, 0]),
        "probabilities": probabilities,
    }
    assert metric("om").per_image(maps, **truth)[:4].flatten().tolist() == [0, 100, 100, 100]
    assert metric("om5").per_image(maps, **truth)[:4].flatten().tolist() == [0, 0, 100, 100]
    for name in ("om", "om5"):
        assert metric(name).per_image(maps, **truth)[4:].isnan().all(), "class unknown; no boxes"


def test_of_equal_probabilities_the_lower_index_is_the_guess() -> None:
    maps, boxes = torch.stack([filled((2, 2, 6, 6))] * 2), [torch.tensor([[2, 2, 6, 6]])] * 2
    equal = torch.full((2, 6), 1 / 6)
    labels = torch.tensor([0, 1])
    rows = metric("om").per_image(maps, boxes=boxes, labels=labels, probabilities=equal)
    assert rows.flatten().tolist() == [0, 100] and equal[0].argmax() == 0
    rows = metric("om5").per_image(maps, boxes=boxes, labels=torch.tensor([4, 5]), probabilities=equal)
    assert rows.flatten().tolist() == [0, 100]


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_om_lies_between_its_causes_and_their_sum(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    maps = torch.rand(8, SIDE, SIDE, generator=draws)
    boxes = [torch.tensor([[0, 0, 6 + i % 7, 12]]) for i in range(8)]
    labels = torch.randint(0, 7, (8,), generator=draws)
    p = torch.rand(8, 7, generator=draws)
    le = metric("le").per_image(maps, boxes=boxes).mean()
    om = metric("om").per_image(maps, boxes=boxes, labels=labels, probabilities=p).mean()
    om5 = metric("om5").per_image(maps, boxes=boxes, labels=labels, probabilities=p).mean()
    top1 = 100 * (p.argmax(1) != labels).double().mean()
    top5 = 100 * (~(p.topk(5).indices == labels[:, None]).any(1)).double().mean()
    assert max(le, top1) <= om <= le + top1
    assert max(le, top5) <= om5 <= min(om, le + top5)


def test_truth_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="2 pictures but the boxes of 1"):
        metric("le").per_image(torch.rand(2, 4, 4), boxes=[torch.zeros(1, 4)])
    with pytest.raises(InputError, match=r"\(M,4\)"):
        metric("le").per_image(torch.rand(1, 4, 4), boxes=[torch.zeros(1, 5)])
    with pytest.raises(InputError, match="NaN"):
        metric("le").per_image(torch.rand(1, 4, 4), boxes=[torch.full((1, 4), torch.nan)])
    with pytest.raises(InputError, match="class 3, and there are 3"):
        metric("om").per_image(
            torch.rand(1, 4, 4), boxes=[torch.zeros(1, 4)], labels=torch.tensor([3]), probabilities=torch.rand(1, 3)
        )


@pytest.mark.parametrize("name", ["le", "om", "om5"])
@pytest.mark.parametrize("threshold", [-0.1, 1, 50])
def test_a_threshold_that_no_box_or_every_one_passes_is_refused(name: str, threshold: float) -> None:
    """50 for half would be an error of 100% whatever the maps."""
    with pytest.raises(InputError, match="threshold is an IoU from 0 to below 1"):
        metric(name, threshold=threshold)
