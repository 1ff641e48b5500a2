"""Audits of classifiers whose mechanism is known."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from audit.scenes import SIDE, criterion, reader, scenes
from calling import call
from jsonschema import Draft202012Validator
from scipy.stats import binomtest, spearmanr
from torch import Tensor

from maskwise.audit import Audit, Limits, audit
from maskwise.audit.accuracy import CalibrationError, calibrated_error, calibration_rows
from maskwise.audit.errors import nearest_right
from maskwise.audit.figures import estimates_figure
from maskwise.audit.finding import Interval, Section
from maskwise.audit.reliance import by_class, kept_part, strict_level
from maskwise.audit.sanity import SHIFT, compressed, moved, stability
from maskwise.audit.subject import collect, estimated
from maskwise.audit.verdict import verdict_section
from maskwise.audit.wilson import share_of, wilson
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.explainers import explainer
from maskwise.report.audit_page import write_audit
from maskwise.schemas import schema


def test_chance_beyond_every_estimate_is_within_the_figure(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a layout that collapses around a label far outside
        estimates_figure([("all", Interval(0.05, 0.01, 0.09, 20))], tmp_path / "lift.png", "lift", (1.0, "chance"))
    assert (tmp_path / "lift.png").stat().st_size > 1000


@pytest.mark.parametrize(("right", "count"), [(0, 5), (8, 10), (10, 10), (377, 500)])
def test_wilson_is_scipy_s(right: int, count: int) -> None:
    ends = binomtest(right, count).proportion_ci(method="wilson")
    ours = wilson(right, count)
    assert (ours.value, ours.low, ours.high) == pytest.approx((right / count, ends.low, ends.high), abs=1e-9)


@pytest.mark.parametrize("count", range(1, 80))
def test_wilson_ends_are_exact(count: int) -> None:
    assert wilson(count, count).high == 1 and wilson(0, count).low == 0


def test_always_right_and_wholly_sure_is_not_too_sure(data: Path, tmp_path: Path) -> None:
    said = audit(reader("ground"), data, "gradient", parts="accuracy", out=tmp_path).plain()["sections"]["accuracy"][
        "says"
    ]
    assert "neither surely too sure nor too unsure" in said[1], said


def test_calibration_error_by_hand() -> None:
    draws = torch.Generator().manual_seed(0)
    confidence = torch.cat([torch.rand(200, generator=draws), torch.tensor([0.0, 1.0])])
    right = torch.rand(202, generator=draws) < confidence**2
    wanted = 0.0
    for b in range(15):
        those = [i for i in range(202) if min(int(float(confidence[i]) * 15), 14) == b]
        if those:
            share = sum(bool(right[i]) for i in those) / len(those)
            mean = sum(float(confidence[i]) for i in those) / len(those)
            wanted += len(those) / 202 * abs(share - mean)
    rows = calibration_rows(confidence, right)
    found = CalibrationError().value(rows.sum(0), torch.tensor(202.0))
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_a_classifier_of_objects_and_one_of_backgrounds(data: Path, tmp_path: Path) -> None:
    """Both are right on every picture; what they need, and where their evidence lies, tells them apart."""
    parts = ("accuracy", "errors", "evidence", "background")
    of_object = audit(reader("object"), data, "gradient", parts=parts, out=tmp_path / "o")
    of_ground = audit(reader("ground"), data, "gradient", parts=parts, out=tmp_path / "g")
    for found in (of_object, of_ground):
        assert found.plain()["sections"]["accuracy"]["accuracy"]["value"] == 1
        assert found.plain()["sections"]["errors"]["not_done"] == "it makes none here"
    hidden = [found.plain()["sections"]["background"]["background"]["value"] for found in (of_object, of_ground)]
    assert hidden == [0.5, 1.0], "without its object the first says one class of both"
    assert criterion(of_object, "background").holds is True and criterion(of_ground, "background").holds is False
    assert criterion(of_object, "classes").holds is True and criterion(of_ground, "classes").holds is False
    told = {one["class"]: one for one in of_ground.plain()["sections"]["background"]["classes"]}
    assert {one["tells"]["value"] for one in told.values()} == {1.0} and set(told) == {"red on blue", "green on yellow"}
    assert "background" in of_ground.failed and "background" not in of_object.failed
    lifts = [found.plain()["sections"]["evidence"]["lift"]["value"] for found in (of_object, of_ground)]
    assert lifts[0] > 1 > lifts[1]
    assert criterion(of_object, "evidence").holds is True and criterion(of_ground, "evidence").holds is False


def test_a_default_answer_is_no_shortcut_and_one_class_of_many_with_a_tag_is() -> None:
    """What is always said without an object tells nothing; a class that its backgrounds alone tell is found."""
    truth = torch.arange(10).repeat_interleave(20)
    always = torch.full_like(truth, 3)  # of every background
    assert not [one for one in by_class(truth, truth, truth, always) if one.gain().low > 0]
    tagged = torch.where(truth == 7, 7, always)
    found = by_class(truth, truth, truth, tagged)
    assert found[0].label == 7 and (found[0].hidden, found[0].others, found[0].false) == (20, 180, 0)
    assert [one.label for one in found if one.gain(strict_level(found)).low > 0.5] == [7]
    assert strict_level(found) == pytest.approx(0.995)
    few = torch.arange(5).repeat_interleave(torch.tensor([4, 5, 6, 7, 8]))
    assert {one.label for one in by_class(few, few, few, few)} == {1, 2, 3, 4}


def test_part_that_is_kept_is_as_wide_as_wilson_s_where_all_pictures_are_alike() -> None:
    none, all_of_them = torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool)
    asked: Any = SimpleNamespace(
        estimate=lambda values, statistic, of: estimated(values, statistic, 0), share=lambda right, of: share_of(right)
    )
    found = kept_part(asked, none, all_of_them, 0.2, all_of_them)
    low, high = binomtest(0, 8).proportion_ci(method="wilson")
    assert found.value == pytest.approx(-0.25)
    assert (found.low, found.high) == pytest.approx(((low - 0.2) / 0.8, (high - 0.2) / 0.8), abs=1e-9)


def test_calibration_error_of_a_calibrated_classifier_by_chance() -> None:
    draws = torch.Generator().manual_seed(1)
    confidence = torch.rand(60, generator=draws) * 0.6 + 0.3
    mean, most = calibrated_error(confidence)
    errors = []
    for _ in range(400):
        right = torch.rand(60, generator=draws) < confidence
        errors.append(float(CalibrationError().value(calibration_rows(confidence, right).sum(0), torch.tensor(60.0))))
    assert mean == pytest.approx(sum(errors) / 400, abs=0.01) and mean > 0.1, "few pictures alone go beyond the bound"
    assert sum(error <= most for error in errors) / 400 == pytest.approx(0.95, abs=0.035)
    assert calibrated_error(torch.ones(9)) == (0, 0)


def test_a_calibrated_classifier_of_few_pictures_does_not_fail(tmp_path: Path) -> None:
    """Its confidence is two thirds and it is right on two thirds of them, but in bins where that does not show."""
    data = scenes(tmp_path / "scenes", 24)
    draws = torch.Generator().manual_seed(3)
    wrong = (torch.rand(24, generator=draws) > 2 / 3).tolist()
    lines = [f"{i:03}.png,{(i % 2) ^ wrong[i]}" for i in range(24)]
    (data / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    classifier = reader("object")
    with torch.no_grad():
        classifier.module.head.weight.mul_(0.05)  # type: ignore[operator,union-attr]
    found = audit(classifier, data, "gradient", parts="accuracy", out=tmp_path / "a")
    numbers, said = found.plain()["sections"]["accuracy"], criterion(found, "calibration")
    beyond = numbers["calibration_error"]["value"] > numbers["calibrated_by_chance"]["quantile_95"]
    assert said.holds is not False or beyond


def test_one_class_alone_and_a_classifier_at_chance_are_said_to_be_so(data: Path, tmp_path: Path) -> None:
    classifier = reader("object")
    (one,) = [read_data(data).filter(lambda record: record.label == 1)]
    parts = ("accuracy", "background")
    found = audit(classifier, one, "grad_cam", parts=parts, out=tmp_path / "one")
    for name in ("accuracy", "background", "classes"):
        assert criterion(found, name).holds is None and "of one class" in criterion(found, name).figure, name
    blind = reader("object")
    with torch.no_grad():
        blind.module.head.weight.zero_()  # type: ignore[operator,union-attr]
    at_chance = audit(blind, data, "grad_cam", parts="accuracy", out=tmp_path / "chance")
    assert criterion(at_chance, "accuracy").holds is None and at_chance.fit_to_show is not True
    assert "isn't shown to be better" in " ".join(at_chance.plain()["sections"]["accuracy"]["says"])
    swapped = Classifier(
        classifier.module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=("green", "red", "c", "d")
    )
    wrong = audit(swapped, _swapped(data, tmp_path / "swapped"), "gradient", parts="accuracy", out=tmp_path / "s")
    assert criterion(wrong, "accuracy").holds is False and wrong.fit_to_show is False
    assert "labels count its classes" in " ".join(wrong.plain()["sections"]["accuracy"]["says"])


def _swapped(data: Path, folder: Path) -> Path:
    """The same pictures with the labels of an order that is not the classifier's."""
    shutil.copytree(data, folder)
    rows = [line.split(",") for line in (data / "labels.csv").read_text().split()[1:]]
    text = "\n".join(["file,label", *(f"{name},{1 - int(label)}" for name, label in rows)])
    (folder / "labels.csv").write_text(text + "\n")
    return folder


def test_the_verdict_names_classes_whose_evidence_is_not_surely_on_the_object() -> None:
    lows = {"tench": 1.5, "golf ball": 0.95}
    evidence = Section("evidence", "", numbers={"classes": [{"class": name, "low": low} for name, low in lows.items()]})
    said = " ".join(verdict_section([evidence]).says)
    assert "Look at the pictures of golf ball: for it" in said and "tench" not in said
    assert "Look at" not in " ".join(verdict_section([Section("evidence", "")]).says)


def test_few_pictures_decide_nothing(data: Path, tmp_path: Path) -> None:
    found = audit(reader("ground"), data, "gradient", limit=6, out=tmp_path, compare_with=reader("object"))
    assert found.stamp["pictures"] == 6 and not [one.name for one in found.criteria if one.holds is not None]
    assert "fewer than 8 decide nothing" in criterion(found, "evidence").figure
    assert found.plain()["sections"]["sanity"]["mprt"]["n"] == 6, "the limit is of every part"


def test_another_checkpoint_without_truth_is_not_known_to_be_no_worse(tmp_path: Path) -> None:
    bare = scenes(tmp_path / "bare", 10, boxes=False, labels=False)
    found = audit(
        reader("object"), bare, "gradient", parts="accuracy", out=tmp_path / "out", compare_with=reader("object")
    )
    assert criterion(found, "worse").holds is None


def test_stability_of_the_picture_itself_and_of_noise(data: Path, tmp_path: Path) -> None:
    def grey(images: Tensor, targets: Any = None) -> Tensor:
        return images.mean(1)

    def noise(images: Tensor, targets: Any = None) -> Tensor:
        return torch.rand(
            images.shape[0], *images.shape[-2:], generator=torch.Generator().manual_seed(int(images.sum()))
        )

    classifier = reader("object")
    own = stability(collect(classifier, grey, "grey", [str(data)], tmp_path / "g"))["alike"]
    assert own[f"a shift by {SHIFT} pixels"]["value"] == pytest.approx(1, abs=1e-6)
    none = stability(collect(classifier, noise, "noise", [str(data)], tmp_path / "n"))["alike"]
    assert all(abs(one["value"]) < 0.1 for one in none.values())
    found = audit(classifier, data, noise, parts="sanity", out=tmp_path / "a")
    assert criterion(found, "stability").holds is False and "stability" in found.failed
    image = torch.rand(2, 3, 20, 24)
    there = moved(image)
    assert torch.equal(there[..., SHIFT:, SHIFT:], image[..., :-SHIFT, :-SHIFT]) and there.shape == image.shape
    smooth = torch.linspace(0, 1, 24).expand(3, 20, 24)
    assert 0 < (compressed(smooth) - smooth).abs().max() < 0.05


class Mistaken(torch.nn.Module):
    """As the reader of objects, but squares in the left half get the other class: errors that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = reader("object").module

    def forward(self, images: Tensor) -> Tensor:
        activation = self.inner.colours(images).relu()
        logits = self.inner.head(activation.mean((2, 3)))
        left = activation[:, :2].sum(1)[..., : SIDE // 2].sum((1, 2)) > 60
        swapped = logits[:, [1, 0, 2, 3]]
        return torch.where(left[:, None], swapped, logits)


def test_worst_errors_come_first_beside_what_is_most_alike(data: Path, tmp_path: Path) -> None:
    names = ("red on blue", "green on yellow", "third", "fourth")
    classifier = Classifier(Mistaken(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=names)
    found = audit(classifier, data, "gradient", parts=("accuracy", "errors"), out=tmp_path)
    audited = collect(classifier, explainer("gradient", classifier), "gradient", [str(data)], tmp_path)
    wrong = (~audited.right).nonzero()[:, 0].tolist()
    own = audited.rows("answers")[:, 3]
    names_of_wrong = [audited.picture(i)[0] for i in sorted(wrong, key=lambda i: float(own[i]))]
    section = found.plain()["sections"]["errors"]
    assert section["wrong"] == len(wrong) > 3
    worst = [one["picture"] for one in section["worst"]]
    assert sorted(worst) == sorted(names_of_wrong[: len(worst)])
    assert [one["p_true"] for one in section["worst"]] == sorted(one["p_true"] for one in section["worst"])
    (cards,) = [one.cards for one in found.sections if one.name == "errors"]
    assert len(cards) == len(worst) and all(cell.path.is_file() for card in cards for cell in card.cells)
    assert [len(card.cells) for card in cards] == [5] * len(cards)
    place = wrong[0]
    alike = nearest_right(audited, place)
    assert alike is not None and audited.right[alike] and audited.labels[alike] == audited.labels[place]
    features = audited.rows("features")
    same = [i for i in range(len(audited)) if audited.right[i] and audited.labels[i] == audited.labels[place]]
    assert alike == max(same, key=lambda i: float(features[i] @ features[place]))
    assert found.plain()["sections"]["accuracy"]["confusions"][0]["pictures"] <= len(wrong)


def test_without_truth_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    bare = scenes(tmp_path / "bare", 26, boxes=False, labels=False)
    found = audit(reader("object"), bare, "gradient", out=tmp_path / "out")
    assert {one.name for one in found.criteria if one.holds is None} >= {"calibration", "evidence", "background"}
    assert found.fit_to_show is not True
    evidence = found.plain()["sections"]["evidence"]
    assert "weaker" in " ".join(evidence["says"]) and "agreement" in evidence and "border" in evidence
    few = scenes(tmp_path / "few", 8)
    assert (
        criterion(audit(reader("object"), few, "gradient", parts="shortcut", out=tmp_path / "f"), "shortcut").holds
        is None
    )


def test_a_killed_audit_goes_on_and_another_explainer_starts_anew(data: Path, tmp_path: Path) -> None:
    calls = 0

    def counting(images: Tensor, targets: Any = None) -> Tensor:
        nonlocal calls
        calls += len(images)
        return images.mean(1)

    classifier = reader("object")
    first = explainer("grad_cam", classifier)
    parts = ("accuracy", "sanity")
    once = audit(classifier, data, first, parts=parts, out=tmp_path)
    again = audit(classifier, data, explainer("grad_cam", classifier), parts=parts, out=tmp_path)
    assert once.plain() == again.plain()
    kept = json.loads((tmp_path / "parts" / "stability.json").read_text())
    (tmp_path / "parts" / "stability.json").write_text(json.dumps(kept | {"identity": "other"}))
    assert audit(classifier, data, first, parts=parts, out=tmp_path).plain() == once.plain()
    audit(classifier, data, counting, parts=parts, out=tmp_path)
    assert calls > 48, "rows and parts of grad_cam are not those of a function"


def test_another_checkpoint_that_looks_at_the_ground_is_worse(data: Path, tmp_path: Path) -> None:
    good, bad = reader("object"), reader("ground")
    found = audit(bad, data, "gradient", parts="accuracy", compare_with=good, out=tmp_path / "b")
    against = found.plain()["sections"]["against"]
    assert against["differences"]["lift of evidence on the object"]["verdict"] == "worse"
    assert against["differences"]["part of the accuracy lost on another class's background"]["verdict"] == "worse"
    assert against["differences"]["accuracy"]["difference"] == 0 and "worse" in found.failed
    whole = audit(good, data, "gradient", parts="accuracy", compare_with=good, out=tmp_path / "s")
    same = whole.plain()["sections"]["against"]
    assert same["maps"]["value"] == pytest.approx(1) and same["same_answer"] == 1
    with pytest.raises(InputError, match="other classes"):
        other = Classifier(good.module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=("a", "b", "c", "d"))
        audit(good, data, "gradient", parts="accuracy", compare_with=other, out=tmp_path / "o")


def test_agreement_is_the_rank_correlation_with_grad_cam(data: Path, tmp_path: Path) -> None:
    classifier = reader("object")
    audited = collect(classifier, explainer("gradient", classifier), "gradient", [str(data)], tmp_path)
    image = audited.picture(3)[1].image[None]
    pooled = [
        torch.nn.functional.adaptive_avg_pool2d(explainer(name, classifier)(image)[:, None], 14).flatten()
        for name in ("gradient", "grad_cam")
    ]
    assert float(audited.rows("agreement")[3]) == pytest.approx(spearmanr(*pooled).statistic, abs=1e-5)


def test_page_json_and_csv(data: Path, tmp_path: Path) -> None:
    found = audit(reader("ground"), data, "gradient", out=tmp_path)
    page = write_audit(found).read_text()
    assert "fit to show to a user? No" in page and page.count("data:image/png;base64,") == page.count("<img ") >= 4
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    plain = json.loads((tmp_path / "audit.json").read_text())
    assert plain["sections"]["verdict"]["fit_to_show"] is False
    lines = (tmp_path / "audit.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found.criteria) and lines[0] == "criterion,holds,question,figure"


def test_the_public_name_is_the_function_whatever_was_imported_before(data: Path, tmp_path: Path) -> None:
    import maskwise as mw

    assert importlib.import_module("maskwise.audit") is sys.modules["maskwise.audit"]
    found = mw.audit(reader("object"), data, "gradient", out=tmp_path, limit=6)
    assert isinstance(found, Audit)


def test_what_makes_no_sense_is_refused(data: Path, tmp_path: Path) -> None:
    several = Classifier(reader("object").module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, activation="sigmoid")
    with pytest.raises(
        InputError, match=r"several findings \(sigmoid outputs\), and an audit is of one: name it with `finding`"
    ):
        audit(several, data, "gradient", out=tmp_path)
    with pytest.raises(InputError, match=r"has outputs of another kind \(activation none\): measure its maps with"):
        audit(several.described(activation="none"), data, "gradient", out=tmp_path)
    with pytest.raises(InputError, match="background"):
        Limits(background=-1)


OWN = "from audit.scenes import reader\n\n\ndef {name}():\n    return reader({name!r})\n"


def test_the_command_s_exit_code(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name="ground"))
    said = ["audit", "--classifier", f"{file}:ground", "--data", data, "--method", "grad_cam", "--out", tmp_path / "a"]
    assert call(*said).exit_code == 0
    failing = call(*said, "--fail-on", "background,shortcut")
    assert failing.exit_code == 1 and (tmp_path / "a" / "audit.html").is_file()
    assert call(*said, "--fail-on", "shortcut").exit_code == 0
    unknown = call(*said, "--fail-on", "leak")
    assert unknown.exit_code == 0 and "leak is not known, so it does not fail: these maps are of no" in unknown.stderr
    assert call(*said, "--fail-on", "background", "--limit-set", "background=1.5").exit_code == 0
    wrong = call(*said, "--fail-on", "sanity")
    assert wrong.exit_code == 2 and "no criterion sanity" in wrong.stderr
    assert call(*said, "--fail-on", "worse").exit_code == 2
    assert call(*said, "--limit-set", "foo=1").exit_code == 2


@pytest.mark.parametrize("subject", [False, True])
def test_one_picture_or_one_subject_tells_nothing_and_breaks_nothing(subject: bool, tmp_path: Path) -> None:
    """An interval of no width would lie wholly beyond every bound."""
    data = scenes(tmp_path / "scenes", 12 if subject else 1)
    if subject:
        lines = [f"{i:03}.png,one" for i in range(12)]
        (data / "subjects.csv").write_text("\n".join(["file,subject", *lines]) + "\n")
    found = audit(reader("object"), data, "gradient", out=tmp_path / "a", compare_with=reader("ground"))
    assert all(one.holds is None for one in found.criteria)
    page = write_audit(found).read_text()
    text = re.sub(r'"data:image/[^"]*"', "", page)
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())
    plain = json.loads((tmp_path / "a" / "audit.json").read_text())
    Draft202012Validator(schema("audit")).validate(plain)
    assert plain["sections"]["evidence"]["lift"]["low"] is None
    if subject:
        assert "so nothing is said of single classes" in text
        assert all(one["verdict"] == "undecided" for one in plain["sections"]["against"]["differences"].values())
