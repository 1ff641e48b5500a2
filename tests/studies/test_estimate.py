"""Estimates against scipy and against the leaderboard's bootstrap; verdicts by their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maskwise.core.bootstrap import interval, paired
from maskwise.measures import metric
from maskwise.studies.claim import Claim, Condition, judge
from maskwise.studies.estimate import Estimate, mean, median
from maskwise.studies.measure import bootstrapped

POINTS = st.lists(st.floats(-100, 100), min_size=2, max_size=6)


@given(POINTS)
def test_seeds_give_student_s_interval(points: list[float]) -> None:
    found = Estimate.of(points).interval()
    if np.std(points) > 1e-9:
        expected = stats.ttest_1samp(points, 0).confidence_interval(0.95)
        assert found == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name, width", [("le", 1), ("area_std", 2)])
def test_draws_are_those_of_the_leaderboard(name: str, width: int) -> None:
    """Value, interval, and the paired difference equal what the metrics' own bootstrap says."""
    judge_of, draws = metric(name), torch.Generator().manual_seed(1)
    a, b = (torch.rand(30, width, generator=draws, dtype=torch.float64) for _ in range(2))
    if name == "area_std":  # statistics are a mean and its square
        a[:, 1], b[:, 1] = a[:, 0] ** 2, b[:, 0] ** 2
    pictures = torch.arange(30)
    first, second = (bootstrapped(judge_of, rows, pictures, 500) for rows in (a, b))
    x, y = (Estimate.of([n.value], n.draws[None]) for n in (first, second))
    assert x.interval() == pytest.approx(interval(judge_of, a, 500), rel=1e-9)
    value, low, high = paired(judge_of, a, b, 500)
    assert ((x - y).value, *(x - y).interval()) == pytest.approx((value, low, high), rel=1e-9)


def test_pictures_with_several_rows_are_drawn_together() -> None:
    """Ten copies of each row are no more evidence than one."""
    rows = torch.tensor([[0.0], [100.0], [100.0], [0.0], [100.0]], dtype=torch.float64)
    once = bootstrapped(None, rows, torch.arange(5), 300)
    often = bootstrapped(None, rows.repeat_interleave(10, 0), torch.arange(5).repeat_interleave(10), 300)
    assert often.value == pytest.approx(once.value)
    np.testing.assert_allclose(often.draws, once.draws)


def test_rows_that_say_nothing_are_left_out() -> None:
    rows = torch.tensor([[1.0], [torch.nan], [3.0]], dtype=torch.float64)
    found = bootstrapped(None, rows, torch.arange(3), 200)
    assert found.value == 2 and set(np.unique(found.draws[~np.isnan(found.draws)])) <= {1, 5 / 3, 2, 7 / 3, 3}
    assert np.isnan(bootstrapped(None, rows[1:2], torch.arange(1), 10).value)


def test_one_picture_tells_nothing_of_the_error() -> None:
    found = bootstrapped(None, torch.tensor([[3.0]], dtype=torch.float64), torch.arange(1), 50)
    number = Estimate.of([found.value], found.draws[None])
    assert (
        number.value == 3 and np.isnan(number.interval()).all() and Condition("x", number, low=0).verdict == "undecided"
    )


def test_difference_of_unpaired_numbers_is_the_widest() -> None:
    a, b = Estimate.of([5.0], bounds=(4.0, 7.0)), Estimate.of([1.0], bounds=(0.0, 3.0))
    assert (a - b).value == 4 and (a - b).interval() == (1.0, 7.0)


def test_mean_and_median() -> None:
    a, b = Estimate.of([1.0, 2.0, 9.0]), Estimate.of([3.0, 4.0, 5.0])
    np.testing.assert_allclose(mean([a, b]).points, [2, 3, 7])
    assert median(a).value == 2 and median(a).seeds == 1
    low, high = median(a).interval()
    assert (low, high) == (1, 9)


ENDS = st.lists(st.integers(-5, 5), min_size=2, max_size=2, unique=True).map(sorted)


@given(ENDS, ENDS)
def test_verdict_by_intervals(measured: list[int], wanted: list[int]) -> None:
    """On a grid of quarters: all of the interval in the open range, none of it, or some."""
    (low, high), (least, most) = measured, wanted
    part = Condition("x", Estimate.of([(low + high) / 2], bounds=(low, high)), least, most)
    inside = [least < x < most for x in np.arange(low, high + 0.1, 0.25)]
    assert part.verdict == ("holds" if all(inside) else "undecided" if any(inside) else "does not hold")


def finding(*verdicts: str) -> str:
    numbers = {"holds": (1.0, 2.0), "does not hold": (-2.0, -1.0), "undecided": (-1.0, 1.0)}
    parts = [Condition("x", Estimate.of([0.5], bounds=numbers[v]), low=0) for v in verdicts]
    return judge(Claim("c", lambda table: parts), {}).verdict  # type: ignore[arg-type]


@pytest.mark.parametrize("parts, verdict", [
    (("holds", "holds"), "holds"), (("holds", "undecided"), "undecided"),
    (("undecided", "does not hold"), "does not hold"), (("holds", "does not hold"), "does not hold"),
])  # fmt: skip
def test_one_part_refutes_and_all_must_hold(parts: tuple[str, ...], verdict: str) -> None:
    assert finding(*parts) == verdict


def test_bare_numbers_and_wide_intervals() -> None:
    """A bare number is judged as it stands, as those of a printed table are; NaN and a wide interval decide nothing."""
    assert Condition("x", Estimate.of([1.0]), low=0).verdict == "holds"
    assert Condition("x", Estimate.of([float("nan")]), low=0).verdict == "undecided"
    assert Condition("x", Estimate.of([1.0, 5.0]), low=0).verdict == "undecided"


def test_the_same_seeds_are_held_against_each_other() -> None:
    """A seed that had failed made every later one the counterpart of another seed."""
    two, three = Estimate.of([1.0, 3.0], which=(0, 2)), Estimate.of([0.5, 10.0, 2.5], which=(0, 1, 2))
    assert (two - three).points.tolist() == [0.5, 0.5] and (three - two).points.tolist() == [-0.5, -0.5]
    assert ((two - three) - three).which == (0, 2) and mean([two, three]).points.tolist() == [0.75, 2.75]
    drawn = Estimate.of([1.0, 3.0], np.array([[1.0, 1.5], [3.0, 3.5]]), which=(0, 2))
    whole = Estimate.of([0.0, 9.0, 1.0], np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 1.0]]), which=(0, 1, 2))
    assert (drawn - whole).draws.tolist() == [[1.0, 1.5], [2.0, 2.5]]
    first, second = Estimate.of([1.0], which=(0,)), Estimate.of([2.0], which=(1,))
    assert np.isnan((first - second).value) and Condition("x", first - second, high=0).verdict == "undecided"
    untrained = Estimate.of([2.0])
    beside = Estimate.of([2.0, 8.0, 9.0])
    assert mean([two, three, beside]).points.tolist() == [pytest.approx(3.5 / 3), pytest.approx(4.5)]
    assert np.isnan(mean([first, second, untrained]).value), "a seed that the two share there is none"
    assert (three - untrained).points.tolist() == [-1.5], "what has no seed is beside the first"


def test_a_mean_of_unpaired_numbers_keeps_an_interval() -> None:
    """It had none, and a number without one is judged as it stands."""
    a, b = Estimate.of([5.0], bounds=(-1.0, 9.0)), Estimate.of([1.0], bounds=(-3.0, 3.0))
    assert mean([a, b]).value == 3 and mean([a, b]).interval() == (-2.0, 6.0)
    assert Condition("x", mean([a, b]), low=0).verdict == "undecided"
