"""Several pictures of one subject: what an audit says of copies is what it says of the originals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit.lungs import lung_network, lungs
from audit.scenes import criterion, reader, scenes
from evaluation.test_subjects import COPIES, copied
from jsonschema import Draft202012Validator
from scipy.stats import norm

from maskwise.audit import audit
from maskwise.audit.accuracy import bins_of, calibrated_error, calibration_rows
from maskwise.audit.conflict import Conflict, triples
from maskwise.audit.detection import auroc, auroc_interval, likeness
from maskwise.audit.reliance import by_class
from maskwise.audit.spurious import carried_by_class, partners
from maskwise.audit.wilson import independent, share_of, wilson
from maskwise.report.audit_page import write_audit
from maskwise.schemas import schema


def flat(found: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(found, dict):
        return {path: found}
    return {name: value for key, one in found.items() for name, value in flat(one, f"{path}/{key}").items()}


def test_an_audit_of_copies_is_as_sure_as_one_of_the_originals(data: Path, tmp_path: Path) -> None:
    parts = ("accuracy", "evidence", "background")
    once = audit(reader("object"), data, "gradient", parts=parts, out=tmp_path / "once")
    thrice = audit(reader("object"), copied(data, tmp_path / "copies"), "gradient", out=tmp_path / "thrice")
    before, after = (one.plain()["sections"] for one in (once, thrice))
    for section, keys in {
        "accuracy": ("accuracy", "calibration_error", "confidence"),
        "evidence": ("lift", "share", "area", "border", "agreement"),
        "background": ("whole", "object", "background", "part"),
    }.items():
        for key in keys:
            old, new = before[section][key], after[section][key]
            assert new["count"] == COPIES * old["count"] and new["subjects"] == old["count"], (section, key)
            ends = [pytest.approx(old[end], abs=1e-4) for end in ("value", "low", "high")]
            assert [new[end] for end in ("value", "low", "high")] == ends, (section, key)
    assert [one.holds for one in once.criteria if one.name in ("accuracy", "evidence", "classes")] == [
        one.holds for one in thrice.criteria if one.name in ("accuracy", "evidence", "classes")
    ]
    chance = [pytest.approx(value, abs=1e-4) for value in before["accuracy"]["calibrated_by_chance"].values()]
    assert list(after["accuracy"]["calibrated_by_chance"].values()) == chance
    told = {one["class"]: one["tells"] for one in after["background"]["classes"]}
    for one in before["background"]["classes"]:
        assert told[one["class"]]["low"] == pytest.approx(one["tells"]["low"], abs=1e-6)
    assert Draft202012Validator(schema("audit")).is_valid(thrice.plain())
    page = write_audit(thrice).read_text()
    assert "95% intervals over subjects" in page and "are of 48 subjects" in page


def test_an_audit_of_a_finding_is_as_sure_of_copies(tmp_path: Path) -> None:
    home = lungs(tmp_path / "home", 48)
    network, parts = lung_network("mark"), ("accuracy", "evidence", "background")
    before, after = (
        audit(network, one, "gradient", finding="pneumonia", parts=parts, out=tmp_path / f"out {i}").plain()["sections"]
        for i, one in enumerate((home, copied(home, tmp_path / "copies")))
    )
    for section, keys in {
        "accuracy": ("sensitivity", "specificity", "auroc", "youden", "calibration_error"),
        "evidence": ("lift",),
        "background": ("whole", "object", "background"),
    }.items():
        for key in keys:
            old, new = before[section][key], after[section][key]
            ends = [pytest.approx(old[end], abs=1e-4) for end in ("value", "low", "high")]
            assert [new[end] for end in ("value", "low", "high")] == ends, (section, key)
    # Which pictures get whose holes is drawn; how sure the difference is, is not.
    old, new = (found["background"]["hidden"] for found in (before, after))
    assert new["subjects"] == 24 and new["high"] - new["low"] > 0.9 * (old["high"] - old["low"])
    assert all(after["background"][key]["subjects"] == 24 for key in ("own_background", "other_background", "lost"))


def test_against_another_checkpoint_copies_are_as_sure(data: Path, tmp_path: Path) -> None:
    home = copied(data, tmp_path / "copies")
    before, after = (
        audit(reader("ground"), one, "gradient", parts="errors", compare_with=reader("object"), out=tmp_path / str(i))
        for i, one in enumerate((data, home))
    )
    old, new = (one.plain()["sections"]["against"] for one in (before, after))
    for name in ("accuracy", "lift of evidence on the object"):
        for end in ("low", "high"):
            assert new["differences"][name][end] == pytest.approx(old["differences"][name][end], abs=1e-4)
    assert new["maps"]["subjects"] == 48 and new["maps"]["low"] == pytest.approx(old["maps"]["low"], abs=1e-4)


def test_no_subject_is_both_taught_and_tested_in_the_positive_control(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of a test picture among those that teach would make it too easy; nothing of one is left in the other."""
    import maskwise.audit.shortcut as shortcut

    seen: list[torch.Tensor] = []
    own = shortcut.with_patch

    def watched(images: torch.Tensor, *given: Any) -> Any:
        seen.append(images)
        return own(images, *given)

    monkeypatch.setattr(shortcut, "with_patch", watched)
    home = copied(data, tmp_path / "copies")
    found = audit(reader("object"), home, "gradient", parts="shortcut", out=tmp_path / "out")
    assert found.plain()["sections"]["shortcut"]["lift"]["subjects"] == 16, "every third of 48"
    test, lessons = (part.flatten(1).unique(dim=0) for part in seen[:2])
    assert not (test[:, None] == lessons).all(2).any()


def test_many_pictures_of_four_subjects_decide_nothing(tmp_path: Path) -> None:
    home = scenes(tmp_path / "home", 4)
    parts = ("accuracy", "evidence", "background", "sanity")
    found = audit(reader("object"), copied(home, tmp_path / "copies", 6), "gradient", parts=parts, out=tmp_path / "out")
    for name in ("accuracy", "evidence", "background", "stability", "mprt"):
        one = criterion(found, name)
        assert one.holds is None and "of 4 subjects only" in one.figure, one
    assert any("all pictures are of 4 subjects" in line for line in found.stamp["warnings"])
    once = audit(reader("object"), home, "gradient", parts="sanity", out=tmp_path / "once")
    before, after = (one.plain()["sections"]["sanity"] for one in (once, found))
    for (_, old), (_, new) in zip(before["mprt"]["rows"], after["mprt"]["rows"], strict=True):
        assert old["low"] < old["high"]
        assert [new["low"], new["high"]] == pytest.approx([old["low"], old["high"]], abs=1e-4)
    for change, old in before["stability"]["alike"].items():
        if change.startswith("noise"):  # which is another one for each picture of a batch
            continue
        new = after["stability"]["alike"][change]
        assert [new["low"], new["high"]] == pytest.approx([old["low"], old["high"]], abs=1e-4)


@pytest.mark.parametrize(("subjects", "tested"), [(3, 1), (6, 2)])
def test_the_positive_control_of_few_subjects_decides_nothing(tmp_path: Path, subjects: int, tested: int) -> None:
    """Every third subject is held out; of one there is no interval, which is null in what is kept."""
    home = copied(scenes(tmp_path / "home", subjects), tmp_path / "copies", 36 // subjects)
    found = audit(reader("object"), home, "grad_cam", parts="shortcut", out=tmp_path / "out")
    one, numbers = criterion(found, "shortcut"), found.plain()["sections"]["shortcut"]
    assert one.holds is None and f"of {tested} subject" in one.figure, one
    assert (numbers["lift"]["low"] is None) is (tested == 1) and "is not known" in numbers["says"][-1]
    assert Draft202012Validator(schema("audit")).is_valid(found.plain())
    write_audit(found)


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_count_as_one(copies: int) -> None:
    draws = torch.Generator().manual_seed(copies)
    right = torch.rand(30, generator=draws) < 0.7
    groups = torch.arange(30).repeat(copies)
    assert independent(right.repeat(copies), groups) == pytest.approx((float(right.sum()), 30.0))
    for all_or_none in (torch.ones(30).bool(), torch.zeros(30).bool()):
        assert independent(all_or_none.repeat(copies), groups)[1] == pytest.approx(30)
    score, there = torch.randn(30, generator=draws), torch.arange(30) < 12
    assert likeness(score.repeat(copies), there.repeat(copies), groups) == pytest.approx(copies)
    assert likeness(there.double().repeat(copies), there.repeat(copies), groups) == pytest.approx(copies), "all right"
    truth = torch.arange(3).repeat(10)
    said = torch.where(torch.rand(30, generator=draws) < 0.5, truth, 0)
    once = by_class(truth, truth, truth, said)
    again = by_class(*(one.repeat(copies) for one in (truth, truth, truth, said)), groups)
    assert [one.gain().low for one in again] == pytest.approx([one.gain().low for one in once])
    lost = Conflict(truth, truth + 1, truth, said).lost()
    same = Conflict(*(one.repeat(copies) for one in (truth, truth + 1, truth, said)), groups).lost()
    assert (same.value, same.low, same.high) == pytest.approx((lost.value, lost.low, lost.high))
    rows = calibration_rows(torch.rand(30, generator=draws), right)
    bins, more = bins_of(rows), bins_of(rows.repeat(copies, 1), groups)
    assert [one and one.high for one in bins] == pytest.approx([one and one.high for one in more])
    confidence = torch.rand(30, generator=draws)
    usual, most = calibrated_error(confidence)
    assert calibrated_error(confidence.repeat(copies), groups=groups) == pytest.approx((usual, most), abs=1e-6)


def test_squares_of_one_subject_count_as_one() -> None:
    """Each of 10 donors in two pictures of the other class; each donor again under another name."""
    top = torch.tensor([0] * 10 + [1] * 10)
    donors = torch.arange(10).repeat_interleave(2)
    recipients = 10 + torch.arange(20) % 10
    others = torch.stack([10 + torch.arange(20) // 2, torch.arange(20) % 10])
    said = (torch.arange(20) // 2 % 3 == 0).long()  # a square takes its class along into both or into none
    all_donors, all_recipients = torch.cat([donors, others[0]]), torch.cat([recipients, others[1]])
    all_said = torch.cat([said, torch.zeros(20).long()])
    once = {c.label: c for c in carried_by_class(top, top, all_donors, all_recipients, all_said)}
    doubled = {
        c.label: c
        for c in carried_by_class(
            top.repeat(2), top.repeat(2), torch.cat([all_donors, all_donors + 20]), all_recipients.repeat(2),
            all_said.repeat(2), torch.arange(20).repeat(2),
        )
    }  # fmt: skip
    assert doubled[0].squares == 2 * once[0].squares and doubled[0].subjects == once[0].subjects == 10
    assert doubled[0].own == pytest.approx(once[0].own)
    assert doubled[0].could_be_found(0.1, 0.95) == once[0].could_be_found(0.1, 0.95)


def test_trials_by_themselves_are_wilson_s_and_independent_groups_cost_little() -> None:
    draws = torch.Generator().manual_seed(0)
    right = torch.rand(4000, generator=draws) < 0.3
    assert share_of(right) == wilson(int(right.sum()), 4000)
    hits, count = independent(right, torch.randint(1000, (4000,), generator=draws))
    assert hits / count == pytest.approx(float(right.double().mean())) and count > 3500


@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_the_share_s_interval_covers_the_truth_where_a_subject_s_pictures_are_alike(spread: float) -> None:
    """25 subjects of one to nine pictures, each with a chance of its own."""
    draws = np.random.default_rng(3)
    truth = float(norm.cdf(0.5 / (1 + spread**2) ** 0.5))
    inside = naive = 0
    for _ in range(400):
        sizes = draws.integers(1, 10, 25)
        chance = norm.cdf(0.5 + spread * draws.normal(size=25))
        right = torch.from_numpy(draws.random(sizes.sum()) < np.repeat(chance, sizes))
        found = share_of(right, torch.from_numpy(np.repeat(np.arange(25), sizes)))
        alone = share_of(right)
        inside += found.low <= truth <= found.high
        naive += alone.low <= truth <= alone.high
    assert inside / 400 > 0.92, inside
    assert spread < 1 or naive / 400 < 0.85, "one by one they would promise too much"


def test_the_area_s_interval_covers_the_truth_where_a_subject_s_pictures_are_alike() -> None:
    """20 subjects with the finding and 40 without, five pictures each whose scores have a part in common."""
    draws = np.random.default_rng(4)
    truth, inside, naive = float(norm.cdf(1.2 / 2**0.5 / 1)), 0, 0
    for _ in range(300):
        own = np.repeat(draws.normal(0, 0.8**0.5, 60), 5) + draws.normal(0, 0.2**0.5, 300)
        there, groups = torch.arange(300) < 100, torch.arange(60).repeat_interleave(5)
        score = torch.from_numpy(own) + 1.2 * there
        area, alike = auroc(score, there), likeness(score, there, groups)
        found, alone = auroc_interval(area, 100 / alike, 200 / alike), auroc_interval(area, 100, 200)
        inside += found.low <= truth <= found.high
        naive += alone.low <= truth <= alone.high
    assert inside / 300 > 0.91, inside
    assert naive / 300 < 0.8, naive


def test_no_picture_gets_anything_of_its_own_subject() -> None:
    """A background, or a square, of the same patient is hardly another one."""
    draws = torch.Generator().manual_seed(0)
    groups = torch.arange(20).repeat_interleave(3)
    truth = (groups + torch.arange(60)) % 2
    every = torch.ones(60, dtype=torch.bool)
    found = triples(truth, every, 100, draws, groups=groups)
    assert len(found) == 60 and all(groups[place] != groups[one] for place, *lent in found for one in lent)
    for donor, recipients in partners(truth, truth, torch.arange(60), 4, draws, groups):
        assert recipients and all(groups[one] != groups[donor] for one in recipients)


def test_one_subject_with_most_of_the_pictures_leaves_hardly_more_than_one() -> None:
    """Kish's n^2 / sum of m^2: of nine pictures of one and one each of two others, 121 / 83."""
    groups = torch.tensor([0] * 9 + [1, 2])
    right = torch.ones(11, dtype=torch.bool)
    assert independent(right, groups) == pytest.approx((121 / 83, 121 / 83))
    assert likeness((groups == 0).double(), groups == 0, groups) == pytest.approx(83 / 11)


@pytest.mark.parametrize("seed", range(5))
def test_likeness_is_what_pairs_one_by_one_say(seed: int) -> None:
    """Obuchowski's clustered variance over DeLong's, from all pairs; subjects have pictures of both kinds, and ties."""
    draws = np.random.default_rng(seed)
    groups = draws.integers(0, 12, 60)
    there = (np.arange(12) % 2 == 0)[groups] ^ (draws.random(60) < 0.1)
    score = (0.7 * draws.normal(size=12)[groups] + draws.normal(size=60) + there).round(1)
    wins = {(i, j): (score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i in range(60) for j in range(60)}
    shown, others = np.flatnonzero(there), np.flatnonzero(~there)
    area = np.mean([wins[i, j] for i in shown for j in others])
    parts = {i: (np.mean([wins[i, j] for j in others]) - area) / len(shown) for i in shown}
    parts |= {j: (np.mean([wins[i, j] for i in shown]) - area) / len(others) for j in others}
    sums = [sum(parts[i] for i in range(60) if groups[i] == group) for group in set(groups.tolist())]
    together = sum(one**2 for one in sums) * len(sums) / (len(sums) - 1)
    wanted = together / (sum(one**2 for one in parts.values()) * 60 / 59)
    most = sum(np.bincount(groups) ** 2) / 60
    found = likeness(torch.tensor(score), torch.tensor(there), torch.tensor(groups))
    assert found == pytest.approx(min(max(wanted, 1), most)) and 1 < wanted < most
