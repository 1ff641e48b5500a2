"""Area, its spread, entropy and total variation: closed forms and plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.core.errors import InputError
from maskwise.core.total_variation import total_variation
from maskwise.measures import metric
from maskwise.measures.statistics import mask_entropy


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_all_equal_plain_loops(seed: int) -> None:
    m = np.random.default_rng(seed).random((2, 5, 4))
    m[0, 0, 0], m[1, 2, 3] = 0, 1
    two, one, across, down = ([] for _ in range(4))
    for picture in m:
        values = picture.ravel().tolist()
        two.append(sum(-sum(p * math.log2(p) for p in (v, 1 - v) if p > 0) for v in values) / 20)
        one.append(sum(-v * math.log2(v) for v in values if v > 0) / 20)
        across.append(sum((picture[y, x] - picture[y, x + 1]) ** 2 for y in range(5) for x in range(3)))
        down.append(sum((picture[y, x] - picture[y + 1, x]) ** 2 for y in range(4) for x in range(4)))
    sums = [a + d for a, d in zip(across, down, strict=True)]
    means = [a / 15 + d / 16 for a, d in zip(across, down, strict=True)]
    for name, expected in (("entropy", two), ("entropy_one_sided", one), ("tv_sum", sums), ("tv_mean", means)):
        assert metric(name).per_image(m).flatten().tolist() == pytest.approx(expected)
        mirrored = metric(name).per_image(m[:, :, ::-1]).flatten().tolist()
        assert mirrored == pytest.approx(expected)
    assert metric("area").per_image(m).flatten().tolist() == pytest.approx(m.mean((1, 2)).tolist())
    assert mask_entropy(1 - m).tolist() == pytest.approx(two), "two-sided: a map and what it leaves are alike"


def test_constant_and_binary_maps() -> None:
    for level, two, one in ((0.0, 0, 0), (1.0, 0, 0), (0.5, 1, 0.5), (0.25, 2 - 0.75 * math.log2(3), 0.5)):
        m = torch.full((1, 6, 6), level)
        assert float(mask_entropy(m)) == pytest.approx(two)
        assert float(mask_entropy(m, two_sided=False)) == pytest.approx(one)
        assert float(total_variation(m)) == float(total_variation(m, "mean")) == 0
    half = torch.zeros(1, 6, 8)
    half[:, :, 4:] = 1  # one edge in each of 6 rows of 7 differences
    assert float(total_variation(half)) == 6
    assert float(total_variation(half, "mean")) == pytest.approx(1 / 7)
    assert float(total_variation(torch.ones(1, 1, 1))) == float(total_variation(torch.ones(1, 1, 1), "mean")) == 0


def test_the_sum_is_the_mean_times_the_differences() -> None:
    """224 x 223 differences each way, 49,952: the factor between the paper's numbers and the code's."""
    m = torch.rand(1, 224, 224, generator=torch.Generator().manual_seed(0))
    assert float(total_variation(m)) == pytest.approx(49_952 * float(total_variation(m, "mean")))


def test_the_spread_is_over_all_pictures() -> None:
    """Areas .1, .2, .6: mean .3, squares .04 + .01 + .09 = .14 over 2; batch by batch it would be something else."""
    spread = metric("area_std")
    for areas in ((0.1, 0.2), (0.6,)):
        spread.update(torch.stack([torch.full((4, 4), a, dtype=torch.float64) for a in areas]))
    assert float(spread.compute()) == pytest.approx(math.sqrt(0.07))
    one = metric("area_std")
    one.update(torch.rand(1, 4, 4))
    assert one.compute().isnan()
    equal = metric("area_std")
    equal.update(torch.full((50, 4, 4), 0.3))
    assert float(equal.compute()) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", ["area", "area_std", "entropy", "entropy_one_sided", "tv_sum", "tv_mean"])
def test_values_outside_the_unit_interval_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"\[0,1\]"):
        metric(name).per_image(torch.full((1, 3, 3), -0.1))
