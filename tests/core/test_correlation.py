"""Rank correlations against scipy's, with ties, with rows that are there several times, and where nothing is said."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, spearmanr

from maskwise.core.correlation import kendall, ranks, weighted_spearman

SEEDS = st.integers(0, 2**32 - 1)


def table(seed: int, rows: int, levels: int) -> torch.Tensor:
    """(rows,4) of so many values, so that many are tied."""
    return torch.randint(0, levels, (rows, 4), generator=torch.Generator().manual_seed(seed)).double()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 15), st.sampled_from([1, 2, 4, 100]))
def test_ranks_are_scipys(seed: int, rows: int, levels: int) -> None:
    values = table(seed, rows, levels).T
    assert np.array_equal(ranks(values.float()).numpy(), rankdata(values.numpy(), axis=1))


def test_infinity_has_a_rank_both_zeros_have_one_and_a_row_with_nan_has_none() -> None:
    found = ranks(torch.tensor([[math.inf, -0.0, 0.0, -math.inf, math.inf], [3.0, math.nan, 2.0, 1.0, 0.0]]))
    assert found[0].tolist() == [4.5, 2.5, 2.5, 1.0, 4.5] and found[1].isnan().all()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 15), st.sampled_from([2, 4, 100]))
def test_kendall_is_scipys_tau_b(seed: int, rows: int, levels: int) -> None:
    values = torch.stack([table(seed, rows, levels), table(seed + 1, rows, levels)])
    found = kendall(values)
    for r in range(2):
        for i in range(4):
            for j in range(4):
                columns = values[r, :, i].numpy(), values[r, :, j].numpy()
                assert float(found[r, i, j]) == pytest.approx(kendalltau(*columns).statistic, abs=1e-12, nan_ok=True)


def test_kendall_by_hand() -> None:
    """Of six pairs five are in order, one is reversed: 4 / 6; with a tie in one of them 5 of 5 over sqrt(6 x 5)."""
    values = torch.tensor([[1.0, 1, 1, math.nan], [2, 3, 1, 0], [3, 2, 2, 1], [4, 4, 3, 2]])
    found = kendall(values[None])[0]
    assert float(found[0, 1]) == pytest.approx(4 / 6)
    assert float(found[0, 2]) == pytest.approx(5 / math.sqrt(30))
    assert found[3].isnan().all() and found[:, 3].isnan().all(), "a value that is missing has no place in an order"


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 20), st.sampled_from([2, 5, 1000]))
def test_weighted_spearman_is_scipys_of_rows_written_down_so_often(seed: int, rows: int, levels: int) -> None:
    values = table(seed, rows, levels)
    weights = torch.randint(0, 4, (3, rows), generator=torch.Generator().manual_seed(seed))
    weights[:, 0] = 1  # something is there
    found = weighted_spearman(values, weights)
    for r, often in enumerate(weights):
        written = np.repeat(values.numpy(), often.numpy(), axis=0)
        for i in range(4):
            for j in range(4):
                flat = any(len(set(written[:, k])) < 2 for k in (i, j))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of scipy's: no correlation of a column that is the same
                    expected = math.nan if flat else spearmanr(written[:, i], written[:, j]).statistic
                assert float(found[r, i, j]) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_same_value_in_a_resample_is_no_order() -> None:
    values = torch.tensor([[1.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    found = weighted_spearman(values, torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))[:, 0, 1]
    assert found[0].isnan() and float(found[1]) == pytest.approx(math.sqrt(3) / 2)
