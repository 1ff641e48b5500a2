"""Two checkpoints, by rows that are written down here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from maskwise.audit.against import against_section
from maskwise.audit.finding import Section
from maskwise.audit.subject import AuditPlan, estimated

COUNT = 12


class Rows:
    """What ``against_section`` reads of an audited checkpoint; no picture has a label."""

    def __init__(self, objects: Tensor, maps: Tensor, top: Tensor, groups: Tensor | None = None) -> None:
        self.known, self.groups = {"objects": objects, "maps": maps}, groups
        self.top = self.labels = top
        self.labelled = torch.zeros(len(top), dtype=torch.bool)
        self.plan, self.method, self.classifier = AuditPlan(), "grad_cam", SimpleNamespace(name="released")

    def __len__(self) -> int:
        return len(self.top)

    def rows(self, name: str) -> Tensor:
        return self.known[name]

    def groups_of(self, rows: Tensor) -> Tensor | None:
        return None if self.groups is None else self.groups[rows]

    def estimate(self, values: Tensor, of: Tensor | None = None) -> Any:
        return estimated(values, groups=self.groups if of is None else self.groups_of(of))


def against(one: Rows, other: Rows) -> Section:
    return against_section(cast(Any, one), cast(Any, other))


def test_a_picture_that_either_says_nothing_of_is_left_out_of_the_difference() -> None:
    inside = torch.tensor([[0.4, 0.2]]).repeat(COUNT, 1).double()
    half = inside * torch.tensor([0.5, 1])
    maps, top = torch.rand(COUNT, 196, generator=torch.Generator().manual_seed(0)), torch.zeros(COUNT)
    for missing in (0, 1):
        pair = [inside.clone(), half.clone()]
        pair[missing][3] = torch.nan
        found = against(*(Rows(objects, maps, top) for objects in pair)).numbers
        lift = found["differences"]["lift of evidence on the object"]
        assert (lift["difference"], lift["low"], lift["high"]) == pytest.approx((1, 1, 1))
        assert lift["verdict"] == "better"


def test_maps_are_compared_where_both_say_the_same() -> None:
    draws = torch.Generator().manual_seed(0)
    maps, top = torch.rand(COUNT, 196, generator=draws), torch.zeros(COUNT)
    changed, said = maps.clone(), top.clone()
    changed[:4], said[:4] = -maps[:4], 1  # others' answers, and just the opposite of the maps
    nothing = torch.full((COUNT, 2), torch.nan)
    section = against(Rows(nothing, maps, top), Rows(nothing, changed, said))
    assert section.numbers["maps"]["value"] == pytest.approx(1) and section.numbers["maps"]["count"] == COUNT - 4
    assert section.numbers["same_answer"] == pytest.approx(8 / 12)
    assert section.criteria[0].holds is None and "no picture has a label" in section.criteria[0].figure


def test_copies_under_one_subject_leave_differences_as_they_were() -> None:
    draws = torch.Generator().manual_seed(2)
    objects = [0.1 + torch.rand(COUNT, 2, generator=draws).double() for _ in range(2)]
    maps = [torch.rand(COUNT, 196, generator=draws) for _ in range(2)]
    top, whose = torch.zeros(COUNT), torch.arange(COUNT).repeat(3)
    once = against(*(Rows(one, own, top) for one, own in zip(objects, maps, strict=True))).numbers
    thrice = against(
        *(
            Rows(one.repeat(3, 1), own.repeat(3, 1), top.repeat(3), whose)
            for one, own in zip(objects, maps, strict=True)
        )
    ).numbers
    for name, ends in once["differences"].items():
        assert ends["low"] < ends["high"]
        assert thrice["differences"][name]["low"] == pytest.approx(ends["low"])
        assert thrice["differences"][name]["high"] == pytest.approx(ends["high"])
    assert thrice["maps"]["low"] == pytest.approx(once["maps"]["low"], abs=1e-6) and thrice["maps"]["subjects"] == COUNT


@pytest.mark.parametrize("count", [3, 7, 8])
def test_a_difference_of_few_pictures_decides_nothing(count: int) -> None:
    """Of twelve pictures that both see, three with objects were enough for "worse", by an interval of no width."""
    inside = torch.tensor([[0.4, 0.2]]).repeat(COUNT, 1).double()
    inside[count:] = torch.nan
    maps, top = torch.rand(COUNT, 196, generator=torch.Generator().manual_seed(0)), torch.zeros(COUNT)
    section = against(Rows(inside * torch.tensor([0.5, 1]), maps, top), Rows(inside, maps, top))
    (difference,), (criterion,) = section.numbers["differences"].values(), section.criteria
    assert difference["difference"] == pytest.approx(-1)
    if count < 8:
        assert difference["verdict"] == "undecided" and criterion.holds is None
        assert f"of {count} pictures only" in criterion.figure
    else:
        assert difference["verdict"] == "worse" and criterion.holds is False
