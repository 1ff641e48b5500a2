"""A class that a thing beside its object carries is found, and one that its object alone carries is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from audit.scenes import SIDE, Reader, reader, scenes
from PIL import Image
from torch import Tensor

from maskwise.audit import audit
from maskwise.audit.rows import Beside
from maskwise.audit.spurious import Carried, carried_by_class, partners, pasted_pairs, square_of, verdict_of
from maskwise.audit.subject import collect
from maskwise.audit.wilson import difference, effective, wilson
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer
from maskwise.labels import Labels

TAG = SIDE // 4


def tagged(folder: Path, count: int = 64) -> Path:
    """Scenes in which pictures of class 0 carry a white tag beside the square, somewhere else in each."""
    data = scenes(folder, count)
    draws = np.random.default_rng(1)
    for line in (data / "boxes.csv").read_text().splitlines()[1::2]:
        name, *edges = line.split(",")
        x0, y0, x1, y1 = map(int, edges)
        pixels = np.asarray(Image.open(data / "images" / name)).copy()
        while True:
            x, y = draws.integers(0, SIDE - TAG, 2)
            if x + TAG <= x0 or x >= x1 or y + TAG <= y0 or y >= y1:
                break
        pixels[y : y + TAG, x : x + TAG] = 255
        Image.fromarray(pixels).save(data / "images" / name)
    return data


def tag_reader() -> Classifier:
    """Says class 0 where there is white, whatever else there is; and class 1 where there is green and none."""
    module = Reader("object")
    with torch.no_grad():
        module.colours.weight[0] = 1.0
        module.colours.bias[0] = -2.4  # of red, green and blue together: more than any colour of the scenes but white
        module.head.weight[0, 0] = 600.0
        module.head.bias[0] = -1.0
    names = Labels(("red on blue", "green on yellow", "third", "fourth"))
    return Classifier(module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=names, name="tag")


def test_a_taught_shortcut_is_found_and_its_class_named_and_the_clean_twin_is_not_flagged(tmp_path: Path) -> None:
    data = tagged(tmp_path / "scenes")
    parts = ("accuracy", "spurious")
    bad = audit(tag_reader(), data, "gradient", parts=parts, out=tmp_path / "bad")
    good = audit(reader("object"), data, "gradient", parts=parts, out=tmp_path / "good")
    assert bad.plain()["sections"]["accuracy"]["accuracy"]["value"] == 1
    assert good.plain()["sections"]["accuracy"]["accuracy"]["value"] == 1
    assert "spurious" in bad.failed and "spurious" not in good.failed
    figure = next(one.figure for one in bad.criteria if one.name == "spurious")
    assert "red on blue 100" in figure and "green" not in figure, figure
    told = {one["class"]: one for one in bad.plain()["sections"]["spurious"]["classes"]}
    assert (told["red on blue"]["own"], told["red on blue"]["squares"]) == (1.0, 32)
    assert good.plain()["sections"]["spurious"]["carried"]["value"] == 0
    assert next(one.holds for one in good.criteria if one.name == "spurious") is True


def test_the_square_is_where_most_of_the_map_lies_beside_the_object() -> None:
    draws = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 16, 12, generator=draws)
    boxes = [torch.tensor([[2.0, 3, 9, 12]]), torch.tensor([[0.0, 0, 5, 16], [6, 1, 9, 4]]), torch.zeros(0, 4)]
    found = Beside().per_image(maps, boxes=boxes)
    assert found[2].isnan().all(), "no object is known"
    for i in range(2):
        free = maps[i].clone()
        for x0, y0, x1, y1 in boxes[i].int().tolist():
            free[y0:y1, x0:x1] = 0
        sums = {(y, x): float(free[y : y + 3, x : x + 3].sum()) for y in range(14) for x in range(10)}
        best = max(sums, key=sums.__getitem__)
        assert tuple(found[i, :2].int().tolist()) == best
        assert float(found[i, 2]) == pytest.approx(sums[best] / float(maps[i].sum()), rel=1e-6)
    flat = Beside().per_image(torch.zeros(1, 16, 12), boxes=boxes[:1])
    full = Beside().per_image(maps[:1], boxes=[torch.tensor([[0.0, 0, 12, 16]])])
    assert flat.isnan().all() and full.isnan().all()


def test_partners_are_of_other_classes_each_once_and_in_turn() -> None:
    top, labels = torch.arange(40) % 4, torch.arange(40) % 4
    labels[5] = 0  # said to be of class 1, and of class 0 in truth: no picture for either
    found = dict(partners(top, labels, torch.arange(40), 3, torch.Generator().manual_seed(0)))
    for donor, others in found.items():
        *others, same = others
        assert top[same] == top[donor] and same != donor
        assert len(set(others)) == 3 and all(top[i] != top[donor] and labels[i] != top[donor] for i in others)
    asked = torch.tensor([i for others in found.values() for i in others]).bincount(minlength=40)
    assert asked.max() <= 14, "about as often as others"
    alone = partners(torch.zeros(1), torch.zeros(1), torch.tensor([0]), 2, torch.Generator())
    assert alone == [(0, [])]


def test_what_the_square_holds_of_the_object_is_not_of_it() -> None:
    there = torch.zeros(16, 12, dtype=torch.bool)
    there[5:9, 3:8] = True
    audited: Any = SimpleNamespace(object_of=lambda _: ("own", there), rows=lambda _: torch.tensor([[4.0, 2.0, 0.5]]))
    own, square = square_of(audited, 0)
    expected = {(y, x) for y in range(4, 7) for x in range(2, 5)} - {(y, x) for y in (5, 6) for x in (3, 4)}
    assert own == "own" and {(y, x) for y, x in square.nonzero().tolist()} == expected


def test_what_is_pasted_is_the_square_without_the_object_at_the_same_place(tmp_path: Path) -> None:
    classifier = reader("object")
    seen: list[Tensor] = []

    def spread(images: Tensor, targets: object = None) -> Tensor:
        return torch.ones(len(images), *images.shape[-2:])

    data = scenes(tmp_path / "scenes", 8)
    audited = collect(classifier, spread, "spread", [str(data)], tmp_path / "out")
    own, square = square_of(audited, 3)
    x0, y0, x1, y1 = own.boxes[0].int().tolist()
    assert not square[y0:y1, x0:x1].any() and 0 < square.sum() <= TAG * TAG
    top, left = audited.rows("beside")[3, :2].int().tolist()
    assert square.nonzero()[:, 0].min() >= top and square.nonzero()[:, 1].max() < left + TAG
    hook = classifier.module.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    pairs = pasted_pairs(audited)
    hook.remove()
    given = torch.cat(seen)
    assert len(pairs) == len(given) == 8 * 5
    for (donor, recipient, _), shown in zip(pairs, given, strict=True):
        from_own, square = square_of(audited, donor)
        expected = torch.where(square, from_own.image, audited.picture(recipient)[1].image)
        assert torch.allclose(shown, expected, atol=1e-6)


def test_shares_of_a_class_by_hand() -> None:
    top = torch.tensor([0] * 5 + [1] * 5 + [2] * 4)
    donors = torch.tensor([*range(14), 3, 6])
    recipients = torch.tensor([5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 0, 1, 2, 5, 4, 7])
    said = torch.tensor([0, 0, 0, 0, 1, 2, 2, 0, 2, 0, 0, 0, 0, 1, 0, 0])
    found = {one.label: one for one in carried_by_class(top, top, donors, recipients, said)}
    assert set(found) == {0, 1}, "class 2 has four squares"
    # Class 0: four of its five squares, and not the one in its own picture; others' squares in pictures that are not of
    # class 0: donors 5 to 8 and 13, and 6 once more, in its own class. Their shares are 0, 1/2, 1, 0 and 0: the mean's
    # variance is 0.2 / 5, and 0.3 * 0.7 over that is 5.25.
    assert found[0].own == (4, 5) and found[0].others == pytest.approx((0.3 * 5.25, 5.25))
    # Class 1: none of five; others' squares outside of class 1: donors 10 to 12, and 3 in
    # its own class, of which none gets it.
    assert found[1].own == (0, 5) and found[1].others == (0, 4)
    assert found[0].gain().value == pytest.approx(0.5) and found[0].gain().count == 5
    wanted = difference((4, 5), found[0].others)
    assert (found[0].gain().low, found[0].gain().high) == (wanted.low, wanted.high)
    # A picture that is of class 0, whatever is said of it, says nothing of others' squares there.
    labels = top.clone()
    labels[12] = 0
    found = {one.label: one for one in carried_by_class(top, labels, donors, recipients, said)}
    # Donor 7's is gone: the others' shares are 0, 1/2, 0 and 0, of five trials in all.
    assert found[0].own == (4, 5) and found[0].others == pytest.approx((0.125 * 5, 5))


def test_a_class_fails_by_its_whole_interval_over_all_classes_and_holds_by_estimates() -> None:
    clean = [Carried(c, 25, (0, 25), (0, 600)) for c in range(9)]
    for own, holds in ((1, True), (4, None), (18, False)):
        found = [*clean, Carried(9, 25, (own, 25), (0, 600))]
        answer, named = verdict_of(found, 0.1)
        assert answer is holds and [one.label for one in named] == ([] if holds else [9])
    # 6 of 25 are surely beyond a tenth by themselves, and not as one of ten: that would be a false alarm too often.
    once = Carried(9, 25, (6, 25), (0, 600))
    assert verdict_of([once], 0.1)[0] is False and verdict_of([*clean, once], 0.1)[0] is None
    assert verdict_of([Carried(0, 5, (0, 5), (0, 1))], 0.1)[0] is None, "too few to be found out"


def test_trials_in_groups_count_as_what_they_say_of_a_share() -> None:
    groups = torch.arange(30).repeat_interleave(4)
    alike = torch.arange(30).repeat_interleave(4) % 2 == 0
    share, count = effective(groups, alike)
    assert (share, count) == (15, 30), "four times the same says no more than once"
    assert effective(groups, torch.zeros(120).bool()) == (0, 30)
    draws = torch.Generator().manual_seed(0)
    counts = [effective(groups, torch.rand(120, generator=draws) < 0.4)[1] for _ in range(200)]
    assert 95 < sum(counts) / 200 <= 120, "independent ones say nearly as much as so many"
    assert effective(torch.zeros(0, dtype=torch.int64), torch.zeros(0).bool()) == (0, 0)


def test_intervals_of_grouped_shares_cover_the_truth() -> None:
    """Of 40 squares with 4 pictures each, whose own chances differ from 0 to 1: the true mean is within in 95%."""
    draws = torch.Generator().manual_seed(2)
    groups, inside, naive = torch.arange(40).repeat_interleave(4), 0, 0
    for _ in range(400):
        chance = (torch.rand(40, generator=draws) < 0.3).double() * 0.9  # mean 0.27
        right = torch.rand(160, generator=draws) < chance.repeat_interleave(4)
        found = wilson(*effective(groups, right))
        inside += found.low <= 0.27 <= found.high
        alone = wilson(int(right.sum()), 160)
        naive += alone.low <= 0.27 <= alone.high
    assert inside / 400 == pytest.approx(0.95, abs=0.035) and naive / 400 < 0.85


def test_maps_of_the_predicted_class_of_right_pictures_alone_give_squares(tmp_path: Path) -> None:
    data = scenes(tmp_path / "scenes", 16)
    lines = (data / "labels.csv").read_text().replace("003.png,1", "003.png,0")
    (data / "labels.csv").write_text(lines)
    classifier = reader("object")
    audited = collect(classifier, explainer("grad_cam", classifier), "grad_cam", [str(data)], tmp_path / "out")
    donors = {donor for donor, _, _ in pasted_pairs(audited)}
    assert 3 not in donors and len(donors) >= 8
