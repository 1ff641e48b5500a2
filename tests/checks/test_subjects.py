"""Checks on several pictures of one subject: their intervals, and what is kept for the test."""

import json
from pathlib import Path

import pytest
import torch
from audit.scenes import scenes
from calling import call
from evaluation.test_subjects import copied

from maskwise.checks.intervals import mean_of
from maskwise.checks.leak import lenders
from maskwise.checks.mask_probe import folds_of
from maskwise.checks.pictures import Labelled, labelled, split
from maskwise.core.errors import InputError
from maskwise.data.subjects import say_shared


def some(groups: torch.Tensor, labels: torch.Tensor) -> Labelled:
    images = torch.zeros(len(groups), 3, 4, 4, dtype=torch.uint8)
    return Labelled(images, labels, ("a", "b"), tuple(f"P{i}" for i in groups.tolist()))


@pytest.mark.parametrize("undefined", ["zero", "left_out"])
def test_copies_leave_a_mean_s_interval_as_it_was(undefined: str) -> None:
    values = torch.rand(15, generator=torch.Generator().manual_seed(0)).double()
    values[3] = torch.nan
    once = mean_of(values, undefined)  # type: ignore[arg-type]
    thrice = mean_of(values.repeat(3), undefined, groups=torch.arange(15).repeat(3))  # type: ignore[arg-type]
    assert (thrice.mean, thrice.low, thrice.high) == pytest.approx((once.mean, once.low, once.high))
    assert thrice.undefined == 3


@pytest.mark.parametrize("seed", range(10))
def test_no_subject_is_trained_on_and_tested_on(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    groups = torch.randint(25, (200,), generator=draws)
    train, test = split(some(groups, torch.randint(2, (200,), generator=draws)), seed=seed)
    assert not set(train.subjects) & set(test.subjects) and len(train) + len(test) == 200
    assert all(25 <= int((test.labels == k).sum()) * 2 <= 60 for k in (0, 1)), "about a fifth of each class"


def test_a_class_of_one_subject_can_not_be_split() -> None:
    groups = torch.tensor([0] * 10 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    with pytest.raises(InputError, match="class 'a' has pictures of too few subjects"):
        split(some(groups, (torch.arange(20) >= 10).long()))


def test_folds_of_a_probe_are_whole_subjects_of_every_class() -> None:
    groups = torch.arange(12).repeat_interleave(4)
    labels = torch.tensor([0, 0, 1, 1]).repeat(12)
    place = folds_of(labels, 3, groups=groups)
    assert all(len(place[groups == g].unique()) == 1 for g in range(12))
    assert place.bincount().tolist() == [16, 16, 16]
    with pytest.raises(InputError, match="3 subjects of every class"):
        folds_of(labels[:8], 3, groups=groups[:8])


def test_subjects_on_both_sides_are_said() -> None:
    train, test = (f"P{i}" for i in range(6)), [None, *(f"P{i}" for i in range(4, 9))]
    with pytest.warns(UserWarning, match=r"2 subjects \(P4, P5\) have pictures among those trained on and among"):
        say_shared(train, test)


def test_the_command_draws_subjects_and_leaves_none_on_both_sides(tmp_path: Path) -> None:
    home = copied(scenes(tmp_path / "home", 12), tmp_path / "copies", 2)
    made = labelled(str(home), 16)
    assert made.groups is not None and len(made.groups.unique()) == 12
    checked = call(
        "check", "max-sensitivity", "--data", home, "--method", "gradient", "--limit", 24, "--samples", 1,
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert checked.exit_code == 0, checked.output
    found = json.loads(checked.stdout)
    assert "12 subjects of 24 pictures" in found["protocol"]["interval"]


def test_no_mask_is_lent_within_a_subject() -> None:
    draws = torch.Generator().manual_seed(1)
    groups = torch.randint(15, (80,), generator=draws)
    labels = torch.randint(3, (80,), generator=draws)
    same, other = lenders(labels, 0, groups)
    assert (same >= 0).all() and (labels[same] == labels).all() and (groups[same] != groups).all()
    assert (labels[other] != labels).all() and same.unique().numel() == 80, "each is lent once"
    alone = torch.tensor([0, 0, 0, 1])
    assert lenders(torch.tensor([0, 0, 0, 1]), 0, alone)[0].tolist() == [-1] * 4
