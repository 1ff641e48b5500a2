"""Similarities against scipy and scikit-image, and what is defined about flat maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr, spearmanr
from skimage.feature import hog
from skimage.metrics import structural_similarity

from maskwise.checks.intervals import mean_of
from maskwise.checks.similarity import Comparison, Hog, Spearman, SpearmanAbs, Ssim, chosen_similarities, similarities
from maskwise.core.correlation import pearson, ranks
from maskwise.core.errors import InputError

few_values = arrays(np.float32, (3, 17), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def maps(seed: int, count: int = 3, side: int = 64, levels: int | None = None) -> torch.Tensor:
    values = torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed))
    return values if levels is None else (values * levels).round() / levels


@given(few_values)
@settings(max_examples=100, deadline=None)
def test_ranks_by_counting(values: np.ndarray) -> None:
    """A value's rank is one more than how many of its row are below it, and half of the others that equal it."""
    counted = [[1 + (row < v).sum() + ((row == v).sum() - 1) / 2 for v in row] for row in values]
    found = ranks(torch.from_numpy(values))
    assert found.dtype == torch.float64 and found.tolist() == np.array(counted).tolist()


@pytest.mark.parametrize("levels", [None, 4])
def test_spearman_is_scipys(levels: int | None) -> None:
    a, b = maps(0, levels=levels), maps(1, levels=levels)
    b = (a + b) / 2
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert np.allclose(Spearman()(a, b).numpy(), expected, atol=1e-12)
    centred = [
        spearmanr(abs(0.5 - x.flatten()), abs(0.5 - y.flatten())).statistic
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert np.allclose(SpearmanAbs()(a, b).numpy(), centred, atol=1e-12)


def test_abs_of_logits_ranks_as_abs_of_their_masks() -> None:
    a, b = 4 * maps(2).double() - 2, 4 * maps(3).double() - 2
    by_logits = SpearmanAbs(logits=True)(a, b)
    assert torch.allclose(by_logits, SpearmanAbs()(a.sigmoid(), b.sigmoid()), atol=1e-6)
    assert not torch.allclose(by_logits, SpearmanAbs(logits=True, centre=0.5)(a, b), atol=1e-3)
    assert SpearmanAbs(logits=True)(a, -a).tolist() == [1, 1, 1]


def test_hog_is_pearson_of_scikit_images_vectors() -> None:
    a, b = maps(4), (maps(4) + maps(5)) / 2
    expected = []
    for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True):
        vectors = [hog(m, 9, pixels_per_cell=(16, 16), cells_per_block=(3, 3)) for m in (x, y)]
        expected.append(pearsonr(*vectors).statistic)
    assert np.allclose(Hog()(a, b).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("logits", "span"), [(False, 1.0), (True, 2.0)])
def test_ssim_is_scikit_images(logits: bool, span: float) -> None:
    a = maps(6) * span - (span - 1)
    b = (a + maps(7)) / 2
    expected = [
        structural_similarity(x, y, win_size=5, data_range=span)
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert np.allclose(Ssim(logits)(a, b).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("name", similarities.names())
def test_equal_maps_are_exactly_one_and_noise_is_about_zero(name: str) -> None:
    measure = similarities.get(name)()
    flat = torch.full((1, 64, 64), 0.3)
    same = torch.cat([maps(8), flat])
    assert measure(same, same.clone()).tolist() == [1, 1, 1, 1]
    assert measure(maps(9), maps(10)).abs().max() < (0.3 if name == "hog" else 0.1)  # HOG has only 144 numbers here
    assert torch.equal(measure(maps(9), maps(10)), measure(maps(10), maps(9)))


@pytest.mark.parametrize("name", ["hog", "spearman", "spearman_abs"])
def test_a_flat_map_has_nothing_to_correlate(name: str) -> None:
    a = maps(11, 2)
    b = torch.stack([torch.full((64, 64), 0.2), a[1]])
    found = similarities.get(name)()(a, b)
    assert found[0].isnan() and found[1] == 1
    counted, left_out = mean_of(found), mean_of(found, "left_out")
    assert (counted.mean, counted.undefined, left_out.mean, left_out.undefined) == (0.5, 1, 1.0, 1)


def test_hog_is_blind_to_masks_that_are_enlarged_by_repetition() -> None:
    """What the documentation warns of: two masks of noise, four times as large, are alike to HOG and to it alone."""
    a, b = (maps(seed, side=56).repeat_interleave(4, 1).repeat_interleave(4, 2) for seed in (16, 17))
    for name in similarities.names():
        found = similarities.get(name)()(a, b)
        assert (found > 0.9).all() if name == "hog" else (found.abs() < 0.1).all()


def test_small_maps_have_smaller_hog_cells() -> None:
    a, b = maps(12, side=32), maps(13, side=32)
    expected = [
        pearsonr(*(hog(m, 9, pixels_per_cell=(10, 10), cells_per_block=(3, 3)) for m in pair)).statistic
        for pair in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert np.allclose(Hog()(a, b).numpy(), expected, atol=1e-12)
    assert Hog().protocol()["cell_of_small_maps"] == "a third of the shorter side, below 48 pixels"


def test_flat_is_told_by_the_values_and_not_by_a_rounded_norm() -> None:
    """The mean of many equal numbers is not always that number, in floating point."""
    flat = torch.full((1, 1003), 0.1, dtype=torch.float64)
    assert pearson(flat, torch.rand(1, 1003, dtype=torch.float64)).isnan().all()


def test_comparison_equals_each_similarity_by_itself() -> None:
    a, b = maps(14), maps(15)
    found = Comparison(a, chosen_similarities(None, False))(b)
    assert list(found) == similarities.names()
    for name, values in found.items():
        assert torch.equal(values, similarities.get(name)()(a, b))


def test_the_interval_covers_the_mean_and_shrinks_with_more_pictures() -> None:
    draws = torch.Generator().manual_seed(0)
    few, many = (mean_of(torch.randn(n, generator=draws)) for n in (20, 2000))
    assert few.low < few.mean < few.high and many.high - many.low < (few.high - few.low) / 5
    # Of normal numbers it is the mean +- 1.96 standard errors.
    assert many.high - many.low == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.1)
    assert mean_of(torch.tensor([torch.nan]), "left_out").plain()["mean"] is None


def test_bad_input() -> None:
    with pytest.raises(InputError, match="must both be"):
        Spearman()(maps(0), maps(0, 2))
    with pytest.raises(InputError, match="unknown similarity 'sim'"):
        chosen_similarities(["sim"], False)
    with pytest.raises(InputError, match="nothing to compare by"):
        chosen_similarities([], False)
    with pytest.raises(InputError, match="at least 5x5"):
        Ssim()(maps(0, side=4), maps(1, side=4))
    with pytest.raises(InputError, match="at least 3x3"):
        Hog()(maps(0, side=2), maps(1, side=2))
    with pytest.raises(InputError, match="data_range"):
        Ssim(data_range=0)
