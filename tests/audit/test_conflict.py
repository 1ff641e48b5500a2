"""Where object and background disagree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from audit.scenes import reader, scenes
from scipy.stats import binomtest

from maskwise.audit import audit
from maskwise.audit.conflict import Conflict, conflict, exchanged, triples
from maskwise.audit.subject import AuditPlan, collect
from maskwise.explainers import explainer


def conflict_of(own: int, other: int, count: int = 20) -> Conflict:
    """So many of ``count`` right on a background of their own class, and on one of another."""
    truth = torch.zeros(count, dtype=torch.int64)
    said = [torch.where(torch.arange(count) < right, 0, 1) for right in (own, other)]
    return Conflict(truth, truth + 1, *said)


def test_what_is_lost_by_hand() -> None:
    found = conflict_of(16, 12)
    assert found.lost().value == pytest.approx(0.25) and int(found.followed.sum()) == 8
    # The bootstrap's own figure: of 20 pictures 4 are lost and 12 stay, drawn again and again.
    draws = torch.Generator().manual_seed(5)
    kinds = torch.tensor([0] * 12 + [1] * 4 + [2] * 4)
    drawn = kinds[torch.randint(20, (4000, 20), generator=draws)]
    parts = (drawn == 1).sum(1) / (drawn < 2).sum(1)
    ends = torch.quantile(parts.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    alone = binomtest(4, 16).proportion_ci(method="wilson")
    assert found.lost().low == pytest.approx(min(ends[0], alone.low), abs=0.02)
    assert found.lost().high == pytest.approx(max(ends[1], alone.high), abs=0.02)


def test_an_interval_has_a_width_where_all_pictures_are_alike() -> None:
    for other, ends in ((20, (0.0, 0.161)), (0, (0.839, 1.0))):
        lost = conflict_of(20, other).lost()
        assert (lost.low, lost.high) == pytest.approx(ends, abs=1e-3)
    assert conflict_of(0, 5).lost().count == 0


def test_triples_are_of_one_class_and_of_two() -> None:
    truth, known = torch.arange(30) % 3, torch.ones(30, dtype=torch.bool)
    truth[4], known[7] = 9, False  # alone of its class; without an object
    found = triples(truth, known, 100, torch.Generator().manual_seed(0))
    assert sorted(one[0] for one in found) == [i for i in range(30) if i not in (4, 7)]
    for place, same, other in found:
        assert truth[place] == truth[same] != truth[other] and place != same and known[same] and known[other]
    asked = [torch.tensor(drawn).bincount(minlength=30) for drawn in list(zip(*found, strict=True))[1:]]
    assert all(count.max() <= 4 for count in asked), "each about as often as others"
    few = [one[0] for one in triples(truth, known, 5, torch.Generator())]
    assert len(few) == 5 and few[0] < 6 and few[-1] > 23, "evenly spread"
    assert triples(torch.zeros(4), torch.ones(4).bool(), 9, torch.Generator()) == []


def test_a_reader_of_objects_loses_nothing_and_one_of_backgrounds_everything(tmp_path: Path) -> None:
    data = scenes(tmp_path / "scenes", 24)
    for what, lost, follows in (("object", 0.0, 0.0), ("ground", 1.0, 1.0)):
        whole = audit(reader(what), data, "gradient", parts="background", out=tmp_path / what)
        found = whole.plain()["sections"]["background"]
        assert found["lost"]["value"] == lost and found["follows_background"]["value"] == follows
        assert found["own_background"]["value"] == 1 and found["other_background"]["value"] == 1 - lost


def test_objects_are_put_on_refilled_backgrounds(tmp_path: Path) -> None:
    data, seen = scenes(tmp_path / "scenes", 6), []
    classifier = reader("object")
    method = explainer("gradient", classifier)
    audited = collect(classifier, method, "gradient", [str(data)], tmp_path / "out", AuditPlan(fill="mean"))
    hook = classifier.module.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    found = exchanged(audited, audited.labels, torch.ones(6, dtype=torch.bool))
    hook.remove()
    assert len(found) == len(seen) == 6
    for (place, *backgrounds, _, _), given in zip(found, seen, strict=True):
        for background, shown in zip(backgrounds, given, strict=True):
            own, there = audited.object_of(place)
            other, hole = audited.object_of(background)
            expected = torch.where(there, own.image, torch.where(hole, torch.zeros(3, 1, 1), other.image))
            assert torch.allclose(shown, expected, atol=1e-6)


def test_what_is_kept_is_of_the_pictures_that_took_part(tmp_path: Path) -> None:
    """Beside another checkpoint fewer pictures may take part than before; rows of others would be compared with it."""
    classifier = reader("object")
    data = scenes(tmp_path / "scenes", 8)
    audited = collect(classifier, explainer("gradient", classifier), "gradient", [str(data)], tmp_path / "out")
    known = torch.ones(8, dtype=torch.bool)
    assert len(conflict(audited, audited.labels, known).truth) == 8  # type: ignore[union-attr]
    known[2] = False
    assert len(conflict(audited, audited.labels, known).truth) == 7  # type: ignore[union-attr]
