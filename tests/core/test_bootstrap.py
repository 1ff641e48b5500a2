"""Intervals against normal theory, numpy's own resampling, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwise.core import bootstrap
from maskwise.core.bootstrap import interval, paired, resampled
from maskwise.core.errors import InputError
from maskwise.measures import metric

DRAWS = torch.Generator().manual_seed(7)


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    """Standard error of a mean of n: s / sqrt(n); the ends lie 1.96 of them away. Error of the ends: a few percent."""
    rows = 50 + 10 * torch.randn(400, 1, generator=DRAWS, dtype=torch.float64)
    low, high = interval(metric("mae"), rows, resamples=8000)
    mean, error = float(rows.mean()), float(rows.std()) / math.sqrt(400)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    """Of 100 pictures 30 are wrong; the number in a resample is binomial, with 2.5% and 97.5% at 21 and 39."""
    rows = torch.tensor([[100.0]] * 30 + [[0.0]] * 70)
    assert interval(metric("le"), rows, resamples=20_000) == (21, 39)


@pytest.mark.parametrize("name", ["pxap", "area_std"])
def test_resampling_equals_drawing_the_pictures_themselves(name: str) -> None:
    """Neither is a mean: of each resample's pictures pixels are pooled, or the spread is taken, anew."""
    maps = torch.rand(12, 8, 8, generator=DRAWS)
    truth = {"masks": torch.rand(12, 8, 8, generator=DRAWS) < maps} if name == "pxap" else {}
    found = interval(metric(name), metric(name).per_image(maps, **truth), resamples=400, seed=3)
    generator, values = torch.Generator().manual_seed(3), []
    for _ in range(400):
        chosen = torch.randint(12, (12,), generator=generator)
        drawn = metric(name)
        drawn.update(maps[chosen], **{key: value[chosen] for key, value in truth.items()})
        values.append(float(drawn.compute()))
    assert found == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_chunks_repeats_and_missing_pictures_change_nothing(seed: int) -> None:
    rows = torch.rand(9, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    once = interval(metric("mae"), rows, resamples=50, seed=seed)
    assert once == interval(metric("mae"), rows, resamples=50, seed=seed)
    holes = torch.full((12, 1), torch.nan, dtype=torch.float64)
    holes[[0, 1, 2, 4, 5, 6, 8, 9, 10]] = rows
    assert once == interval(metric("mae"), holes, resamples=50, seed=seed)
    assert once[0] <= float(rows.mean()) <= once[1]
    cells = bootstrap.CELLS
    try:
        bootstrap.CELLS = 40  # four resamples at a time
        assert interval(metric("mae"), rows, resamples=50, seed=seed) == pytest.approx(once)
    finally:
        bootstrap.CELLS = cells


def test_a_paired_difference_knows_what_both_share() -> None:
    """b = a - 1 on every picture: the difference is 1 in every resample, though a varies a lot."""
    a = 50 + 20 * torch.randn(60, 1, generator=DRAWS, dtype=torch.float64)
    assert paired(metric("mae"), a, a - 1) == pytest.approx((1, 1, 1))
    difference, low, high = paired(metric("mae"), a, 100 - a)
    assert (difference, low, high) != (1, 1, 1) and low < difference < high
    other = paired(metric("mae"), 100 - a, a)
    assert other == pytest.approx((-difference, -high, -low))


def test_pictures_that_either_lacks_are_left_out_of_both() -> None:
    a = torch.tensor([[1.0], [2.0], [torch.nan], [4.0]])
    b = torch.tensor([[0.0], [torch.nan], [3.0], [1.0]])
    assert paired(metric("mae"), a, b)[0] == pytest.approx((1 - 0 + 4 - 1) / 2)
    with pytest.raises(InputError, match="the same pictures"):
        paired(metric("mae"), a, b[:3])


def test_nothing_gives_no_interval() -> None:
    gone = torch.full((3, 1), torch.nan)
    assert all(math.isnan(end) for end in interval(metric("le"), gone))
    assert all(math.isnan(number) for number in paired(metric("le"), gone, gone))


def test_rows_of_one_picture_are_drawn_together() -> None:
    """Each picture's row thrice is no more evidence than once."""
    rows = torch.rand(20, 1, generator=DRAWS, dtype=torch.float64)
    thrice, pictures = rows.repeat_interleave(3, 0), torch.arange(20).repeat_interleave(3)
    once = interval(metric("mae"), rows, resamples=200)
    assert interval(metric("mae"), thrice, resamples=200, groups=pictures) == pytest.approx(once)
    apart = interval(metric("mae"), thrice, resamples=200)
    assert apart[1] - apart[0] < 0.8 * (once[1] - once[0])
    difference = paired(metric("mae"), thrice, thrice**2, resamples=200, groups=pictures + 7)
    assert difference == pytest.approx(paired(metric("mae"), rows, rows**2, resamples=200))
    holes = thrice.clone()
    holes[::3] = torch.nan
    twice = interval(
        metric("mae"), rows.repeat_interleave(2, 0), resamples=200, groups=torch.arange(20).repeat_interleave(2)
    )
    assert interval(metric("mae"), holes, resamples=200, groups=pictures) == pytest.approx(twice)


def test_levels_nest_and_nonsense_is_refused() -> None:
    rows = torch.rand(50, 1, generator=DRAWS)
    wide, narrow = interval(metric("mae"), rows, level=0.99), interval(metric("mae"), rows, level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    for wrong in ({"level": 0.0}, {"level": 95.0}, {"resamples": 0}):
        with pytest.raises(InputError):
            interval(metric("mae"), rows, **wrong)  # type: ignore[arg-type]


def test_of_one_picture_or_of_one_subject_there_is_no_interval() -> None:
    """A picture alone was an interval of no width, which said that another would be the same."""
    one, three = torch.tensor([[70.0]]), torch.tensor([[70.0], [10.0], [20.0]])
    alike, apart = torch.tensor([5, 5, 5]), torch.tensor([5, 5, 6])
    for rows, groups in ((one, None), (three, alike), (torch.tensor([[70.0], [math.nan]]), None)):
        assert all(math.isnan(end) for end in interval(metric("le"), rows, groups=groups))
        difference, *ends = paired(metric("le"), rows, rows - 5, groups=groups)
        assert difference == pytest.approx(5) and all(math.isnan(end) for end in ends)
    for groups in (None, apart):
        low, high = interval(metric("le"), three, groups=groups)
        assert low < high
    assert len(resampled(metric("le"), three, torch.zeros(3, dtype=torch.int64))) == 0
    with pytest.raises(InputError, match="resamples"):
        interval(metric("le"), one, resamples=0)
