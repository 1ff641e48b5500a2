"""Average precision and absolute error picture by picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.measures.pixels import mean_absolute_error, pixel_ap


def slow_ap(m: np.ndarray, mask: np.ndarray, counts: np.ndarray) -> float:
    """Precision and recall at every distinct score, from the highest down."""
    area, before = 0.0, 0.0
    for level in sorted(set(m[counts].tolist()), reverse=True):
        kept = (m >= level) & counts
        true = (kept & mask).sum()
        area += true / kept.sum() * (true - before) / mask.sum()
        before = true
    return area


@given(st.integers(0, 10_000), st.sampled_from([3, 20, 10**6]))
@settings(max_examples=40, deadline=None)
def test_ap_equals_all_thresholds_tried_out(seed: int, values: int) -> None:
    draws = np.random.default_rng(seed)
    maps = draws.integers(0, values, (3, 6, 7)) / values
    masks, ignore = draws.random(maps.shape) < 0.4, draws.random(maps.shape) < 0.3
    masks[:, 0, 0] = True
    expected = [slow_ap(m, mask, mask | ~off) for m, mask, off in zip(maps, masks, ignore, strict=True)]
    assert pixel_ap(maps, masks, ignore).tolist() == pytest.approx(expected)
    assert torch.equal(pixel_ap(maps * 3 - 7, masks, ignore), pixel_ap(maps, masks, ignore)), "only the order counts"
    flipped = pixel_ap(maps[:, ::-1], masks[:, ::-1], ignore[:, ::-1])
    assert torch.allclose(flipped, pixel_ap(maps, masks, ignore))


def test_ap_is_scikit_learn_s() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(0)
    maps = np.round(draws.random((5, 12, 12)), 1).astype(np.float32)
    masks = draws.random(maps.shape) < 0.3
    expected = [sklearn.average_precision_score(a.ravel(), m.ravel()) for m, a in zip(maps, masks, strict=True)]
    assert pixel_ap(maps, masks).tolist() == pytest.approx(expected)


def test_ap_by_hand_and_on_trivial_maps() -> None:
    """As in PxAP: order object, not, object, not gives 1/2 + 1/2 * 2/3. Constant: the share. Upside down: worst."""
    masks = torch.tensor([[[1, 0], [1, 0]]] * 4).bool()
    maps = torch.tensor([[[0.9, 0.8], [0.7, 0.1]], [[0.4] * 2] * 2, [[1.0, 0], [1, 0]], [[0.0, 1], [0, 1]]])
    assert pixel_ap(maps, masks).tolist() == pytest.approx([5 / 6, 1 / 2, 1, 1 / 2])
    assert pixel_ap(maps[:1], torch.zeros(1, 2, 2).bool()).isnan().all(), "there is nothing to rank"


def test_absolute_error_by_hand() -> None:
    """|.9 - 1| + |.2| + |.5 - 1| + |0| = .8 over 4; without the ignored second pixel .6 over 3."""
    m = torch.tensor([[[0.9, 0.2], [0.5, 0.0]]])
    mask = torch.tensor([[[1, 0], [1, 0]]]).bool()
    assert mean_absolute_error(m, mask).tolist() == pytest.approx([0.2])
    ignore = torch.tensor([[[1, 1], [0, 0]]]).bool()
    assert mean_absolute_error(m, mask, ignore).tolist() == pytest.approx([0.2])
    ignore[0, 1, 1] = True  # and the last: .1 + .5 over 2, as an ignored pixel of the object counts
    assert mean_absolute_error(m, mask, ignore).tolist() == pytest.approx([0.3])
    assert mean_absolute_error(mask.float(), mask).tolist() == [0]
    assert mean_absolute_error(torch.full((1, 2, 2), 0.3), mask).tolist() == pytest.approx([0.5])
