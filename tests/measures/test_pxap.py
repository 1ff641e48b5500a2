"""PxAP and the pooled IoU: against the released histogram, scikit-learn's ranking, and values that can be derived."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.core.errors import InputError
from maskwise.measures import metric
from maskwise.measures.pxap import score_histograms


def slow_pxap(maps: np.ndarray, masks: np.ndarray, ignore: np.ndarray, bins: int) -> float:
    """The released steps: histograms with the edges 0, d, …, 1, 2, 3, then precision times steps of recall."""
    edges = np.append(np.arange(bins) / bins, [1.0, 2.0, 3.0])
    true, false = np.zeros(bins + 2), np.zeros(bins + 2)
    for m, mask, dropped in zip(maps, masks, ignore, strict=True):
        true += np.histogram(m[mask], edges)[0]
        false += np.histogram(m[~mask & ~dropped], edges)[0]
    tp, fp = true[::-1].cumsum(), false[::-1].cumsum()
    area = 0.0
    for i in range(1, bins + 2):
        if tp[i] + fp[i]:
            area += tp[i] / (tp[i] + fp[i]) * (tp[i] - tp[i - 1]) / true.sum()
    return 100 * area


def slow_iou(maps: np.ndarray, masks: np.ndarray, ignore: np.ndarray, bins: int) -> float:
    best = 0.0
    counts = masks | ~ignore
    for step in range(bins + 1):
        kept = (maps >= step / bins) & counts
        best = max(best, (kept & masks).sum() / (kept | masks).sum())
    return 100 * best


def example(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    maps = draws.random((4, 9, 7))
    on_edges = draws.random(maps.shape) < 0.5  # half of the scores lie on bin edges, 0 and 1 among them
    maps = np.where(on_edges, np.round(maps * 10) / 10, maps)
    masks = draws.random(maps.shape) < 0.3
    masks[0, 0, 0] = True
    return maps, masks, draws.random(maps.shape) < 0.2


@given(st.integers(0, 10_000), st.sampled_from([1, 7, 10, 100, 1000]))
@settings(max_examples=40, deadline=None)
def test_both_equal_the_steps_written_out(seed: int, bins: int) -> None:
    maps, masks, ignore = example(seed)
    for name, slow in (("pxap", slow_pxap), ("best_iou", slow_iou)):
        pooled = metric(name, bins=bins)
        for i in range(4):
            pooled.update(maps[i : i + 1], masks=masks[i : i + 1], ignore=ignore[i : i + 1])
        assert float(pooled.compute()) == pytest.approx(slow(maps, masks, ignore, bins))


def test_it_is_scikit_learn_s_average_precision_of_all_pixels() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    maps, masks, _ = example(3)
    maps = np.round(maps * 50) / 50  # one score a bin: nothing is lost to the histogram
    pooled = metric("pxap", bins=50)
    pooled.update(maps, masks=masks)
    expected = 100 * sklearn.average_precision_score(masks.ravel(), maps.ravel())
    assert float(pooled.compute()) == pytest.approx(expected)


def test_pxap_by_hand() -> None:
    """Scores .95 (object), .85 (not), .75 (object), .05 (not): P = 1/1 at R = 1/2, then 2/3 at R = 1: .5 + 1/3.

    IoU: at .9 1/2, at .8 1/3, at .7 2/3, at 0 2/4.
    """
    m = torch.tensor([[[0.95, 0.85], [0.75, 0.05]]])
    masks = torch.tensor([[[1, 0], [1, 0]]]).bool()
    pxap, best = metric("pxap"), metric("best_iou")
    pxap.update(m, masks=masks)
    best.update(m, masks=masks)
    assert float(pxap.compute()) == pytest.approx(100 * (1 / 2 + 1 / 3))
    assert float(best.compute()) == pytest.approx(100 * 2 / 3)
    # Without the false pixel at .85 nothing is wrong; an ignored pixel of the object still counts.
    pxap.reset()
    pxap.update(m, masks=masks, ignore=torch.tensor([[[1, 1], [0, 0]]]).bool())
    assert float(pxap.compute()) == 100


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["pxap", "best_iou"])
def test_a_constant_map_scores_the_foreground_s_share(name: str, level: float) -> None:
    masks = torch.zeros(2, 10, 10).bool()
    masks[0, :5], masks[1, :1] = True, True  # 60 of 200 pixels, pooled
    constant = metric(name)
    constant.update(torch.full((2, 10, 10), level), masks=masks)
    assert float(constant.compute()) == pytest.approx(30)


@pytest.mark.parametrize("name", ["pxap", "best_iou"])
def test_the_truth_itself_scores_everything(name: str) -> None:
    masks = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    exact = metric(name)
    exact.update(masks.float(), masks=masks)
    assert float(exact.compute()) == 100


def test_random_maps_score_about_the_foreground_s_share() -> None:
    """With n = 90,000 pixels of which a quarter is object; the error of the precision is well below 1%."""
    draws = torch.Generator().manual_seed(0)
    masks = torch.zeros(1, 300, 300).bool()
    masks[:, :75] = True
    chance = metric("pxap")
    chance.update(torch.rand(1, 300, 300, generator=draws), masks=masks)
    assert float(chance.compute()) == pytest.approx(25, abs=1)


def test_pictures_are_pooled_and_not_averaged() -> None:
    """Each map ranks its own pixels perfectly, but the second one's object scores below the first one's background."""
    maps = torch.tensor([[[0.9, 0.5]], [[0.3, 0.1]]])
    masks = torch.tensor([[[1, 0]], [[1, 0]]]).bool()
    pooled, single = metric("pxap"), metric("pixel_ap")
    pooled.update(maps, masks=masks)
    single.update(maps, masks=masks)
    assert float(single.compute()) == 100
    assert float(pooled.compute()) == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3))


def test_every_counted_pixel_is_in_one_bin() -> None:
    maps, masks, ignore = example(1)
    histograms = score_histograms(maps, masks, ignore, bins=10)
    assert histograms.sum((1, 2)).tolist() == (masks | ~ignore).sum((1, 2)).tolist()
    assert histograms[:, 0].sum(1).tolist() == masks.sum((1, 2)).tolist()
    assert histograms[:, :, -1].sum() == ((maps == 1) & (masks | ~ignore)).sum()


def test_nothing_to_find_has_no_value() -> None:
    empty = metric("pxap")
    empty.update(torch.rand(1, 4, 4), masks=torch.zeros(1, 4, 4).bool())
    assert empty.compute().isnan()


def test_scores_and_shapes_are_checked() -> None:
    with pytest.raises(InputError, match=r"\[0,1\]"):
        metric("pxap").per_image(torch.full((1, 4, 4), 1.1), masks=torch.ones(1, 4, 4).bool())
    with pytest.raises(InputError, match="masks must be"):
        metric("pxap").per_image(torch.rand(1, 4, 4), masks=torch.ones(1, 4, 5).bool())
    with pytest.raises(InputError, match="ignore must be"):
        metric("pxap").per_image(torch.rand(1, 4, 4), masks=torch.ones(1, 4, 4).bool(), ignore=torch.ones(4, 4).bool())
